package cmd

import (
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"

	"github.com/linktrail/linktrail/apps/linktrail/internal/up"
	"github.com/linktrail/linktrail/internal/telemetry"
)

// telemetryFlags are what `linktrail telemetry set` was told.
type telemetryFlags struct {
	ratio                       float64
	endpoint, batcher, httpPath string
	headers                     []string
	headerFile                  string
	caFile, certFile, keyFile   string
	secure, disabled            bool
	changed                     func(flag string) bool
}

// register adds the flags to their command.
func (f *telemetryFlags) register(c *cobra.Command) {
	flags := c.Flags()
	flags.Float64Var(&f.ratio, "ratio", 0, "the share of new traces that are recorded, 0 to 1")
	flags.StringVar(&f.endpoint, "endpoint", "", "where spans go: host:port, an http(s) URL, or the path of a file")
	flags.StringVar(&f.batcher, "batcher", "", "how they go: otlpgrpc, otlphttp, zipkin or file (default by the endpoint)")
	completes(c, "batcher", telemetry.BatcherOTLPGRPC, telemetry.BatcherOTLPHTTP, telemetry.BatcherZipkin, telemetry.BatcherFile)
	flags.StringArrayVar(&f.headers, "header", nil, "a header of every export, NAME=VALUE; may be repeated; NAME= takes it back")
	flags.StringVar(&f.headerFile, "header-file", "", "a file with headers, a line \"NAME: VALUE\" each; - is standard input")
	flags.StringVar(&f.httpPath, "http-path", "", "the path that otlphttp posts to")
	flags.BoolVar(&f.secure, "secure", false, "use TLS with otlpgrpc or otlphttp")
	flags.StringVar(&f.caFile, "ca-file", "", "PEM file of the authorities to trust in place of the system's; implies --secure")
	flags.StringVar(&f.certFile, "cert-file", "", "PEM file of our certificate, where the collector asks for one; implies --secure")
	flags.StringVar(&f.keyFile, "key-file", "", "PEM file of its key")
	flags.BoolVar(&f.disabled, "disabled", false, "record and send nothing; --disabled=false takes it back")
	for _, name := range []string{"header-file", "ca-file", "cert-file", "key-file"} {
		_ = c.MarkFlagFilename(name)
	}
	f.changed = flags.Changed
}

func (f *telemetryFlags) any() bool {
	return slices.ContainsFunc([]string{"ratio", "endpoint", "batcher", "header", "header-file", "http-path", "secure", "ca-file",
		"cert-file", "key-file", "disabled"}, f.changed)
}

// block is a Telemetry block that is edited. Letter case of keys makes no difference.
type block map[string]any

func (b block) drop(keys ...string) {
	for key := range b {
		if slices.ContainsFunc(keys, func(k string) bool { return strings.EqualFold(k, key) }) {
			delete(b, key)
		}
	}
}

func (b block) put(key string, value any) {
	b.drop(key)
	b[key] = value
}

// putText sets a key, or takes it back when the value is empty.
func (b block) putText(key, value string) {
	if b.drop(key); value != "" {
		b[key] = value
	}
}

// apply changes an overlay's files as the flags say.
func (f *telemetryFlags) apply(files overlayFiles, stdin io.Reader) (overlayFiles, error) {
	keys, err := readBlock(files.dir, telemetry.OverlayFile, files.telemetry)
	if err != nil {
		return files, err
	}
	if f.changed("ratio") {
		keys.put("Sampler", f.ratio)
	}
	if f.changed("disabled") {
		keys.put("Disabled", f.disabled)
	}
	if err := f.exporter(keys, files); err != nil {
		return files, err
	}
	if files.telemetry, err = writeBlock(keys, files.telemetry); err != nil {
		return files, err
	}
	if f.changed("header") || f.changed("header-file") {
		err = f.applyHeaders(&files, stdin)
	}
	return files, err
}

// exporter changes how and where spans go.
func (f *telemetryFlags) exporter(keys block, files overlayFiles) error {
	// All services of one folder have the same exporter of their own, so one stands for all.
	own := files.own[up.URLAPI]
	present := own
	if now, err := own.Overlaid(files.dir, files.telemetry, files.headers); err == nil {
		present = now
	}
	secure, secureGiven := f.secure, f.changed("secure")
	batcher := present.Batcher
	if f.changed("batcher") {
		batcher = f.batcher
		keys.putText("Batcher", f.batcher)
		if f.batcher == "" {
			batcher = own.Batcher
		}
	}
	switch {
	case f.changed("endpoint") && f.endpoint == "":
		keys.drop("Endpoint", "Batcher")
		batcher = own.Batcher
	case f.changed("endpoint"):
		place, err := locate(f.endpoint, batcher, f.changed("batcher"))
		if err != nil {
			return err
		}
		batcher = place.batcher
		keys.put("Batcher", batcher)
		keys.put("Endpoint", place.endpoint)
		if place.path != "" {
			keys.put("OtlpHttpPath", place.path)
		}
		if place.schemeGiven && !secureGiven {
			secure, secureGiven = place.secure, true
		}
	}
	if f.changed("http-path") {
		keys.putText("OtlpHttpPath", f.httpPath)
	}
	for _, file := range []struct{ flag, key, path string }{
		{"ca-file", "OtlpCaFile", f.caFile}, {"cert-file", "OtlpCertFile", f.certFile}, {"key-file", "OtlpKeyFile", f.keyFile},
	} {
		if !f.changed(file.flag) {
			continue
		}
		path := file.path
		if path != "" {
			var err error
			if path, err = filepath.Abs(path); err != nil {
				return err
			}
			if !secureGiven {
				secure, secureGiven = true, true
			}
		}
		keys.putText(file.key, path)
	}
	return setTLS(keys, own, present, batcher, secure, secureGiven)
}

// setTLS says whether to use TLS under the key of the batcher, and takes back what another batcher's would be wrong with.
func setTLS(keys block, own, present telemetry.Config, batcher string, secure, given bool) error {
	key := map[string]string{telemetry.BatcherOTLPGRPC: "OtlpGrpcSecure", telemetry.BatcherOTLPHTTP: "OtlpHttpSecure"}[batcher]
	if given && key == "" && secure {
		return usagef("--secure, --ca-file, --cert-file and --key-file are for otlpgrpc and otlphttp, and not for %s", batcher)
	}
	if !given && batcher == present.Batcher {
		return nil
	}
	keys.drop("OtlpGrpcSecure", "OtlpHttpSecure")
	if batcher != telemetry.BatcherOTLPHTTP {
		keys.drop("OtlpHttpPath")
	}
	if own.OtlpGrpcSecure && batcher != telemetry.BatcherOTLPGRPC {
		keys.put("OtlpGrpcSecure", false)
	}
	if given && key != "" {
		keys.put(key, secure)
	}
	if !given && key != "" {
		secure = key == "OtlpGrpcSecure" && own.OtlpGrpcSecure || key == "OtlpHttpSecure" && own.OtlpHttpSecure
	}
	if key != "" && secure {
		return nil
	}
	for key, own := range map[string]string{"OtlpCaFile": own.OtlpCaFile, "OtlpCertFile": own.OtlpCertFile, "OtlpKeyFile": own.OtlpKeyFile} {
		if keys.drop(key); own != "" {
			keys[key] = ""
		}
	}
	return nil
}

// place is where spans go.
type place struct {
	batcher, endpoint, path string
	secure, schemeGiven     bool
}

// locate reads --endpoint. Without --batcher its form tells how spans go; where it leaves a choice, they go as they did.
func locate(endpoint, batcher string, given bool) (place, error) {
	if strings.Contains(endpoint, "://") {
		return locateURL(endpoint, batcher, given)
	}
	host, port, err := net.SplitHostPort(endpoint)
	isAddress := err == nil && host != "" && port != "" && !strings.ContainsRune(endpoint, '/')
	overOTLP := batcher == telemetry.BatcherOTLPGRPC || batcher == telemetry.BatcherOTLPHTTP
	switch {
	case given && batcher == telemetry.BatcherFile, !given && !isAddress && strings.ContainsAny(endpoint, `/\`), !given && strings.HasSuffix(endpoint, ".jsonl"):
		path, err := filepath.Abs(endpoint)
		if err == nil && (strings.HasSuffix(endpoint, "/") || isFolder(path)) {
			path = filepath.Join(path, "spans.jsonl")
		}
		return place{batcher: telemetry.BatcherFile, endpoint: path}, err
	case given:
		return place{batcher: batcher, endpoint: endpoint}, nil
	case !isAddress:
		return place{}, usagef("--endpoint %q is not host:port, an http(s) URL, or the path of a file, such as localhost:4317 or ./spans.jsonl", endpoint)
	case port == "4318":
		batcher = telemetry.BatcherOTLPHTTP
	case port == "4317" || !overOTLP:
		batcher = telemetry.BatcherOTLPGRPC
	}
	return place{batcher: batcher, endpoint: endpoint}, nil
}

func locateURL(endpoint, batcher string, given bool) (place, error) {
	u, err := url.Parse(endpoint)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return place{}, usagef("--endpoint is not host:port, an http(s) URL, or the path of a file, such as localhost:4317")
	}
	switch {
	case given && batcher == telemetry.BatcherFile:
		return place{}, usagef("--endpoint is a URL: with --batcher file it is the path of a file")
	case given && batcher == telemetry.BatcherZipkin, !given && (u.Port() == "9411" || strings.HasSuffix(u.Path, "/api/v2/spans")):
		return place{batcher: telemetry.BatcherZipkin, endpoint: endpoint}, nil
	case u.User != nil || u.RawQuery != "":
		return place{}, usagef("--endpoint has a user or a query: OTLP takes credentials as headers, by --header-file")
	case !given:
		batcher = telemetry.BatcherOTLPHTTP
	}
	p := place{batcher: batcher, endpoint: u.Host, secure: u.Scheme == "https", schemeGiven: true}
	if path := strings.TrimRight(u.Path, "/"); path != "" && batcher == telemetry.BatcherOTLPHTTP {
		p.path = path
	}
	return p, nil
}

// applyHeaders changes headers.yaml. No error shows a value.
func (f *telemetryFlags) applyHeaders(files *overlayFiles, stdin io.Reader) error {
	keys, err := readBlock(files.dir, telemetry.HeadersFile, files.headers)
	if err != nil {
		return err
	}
	headers := map[string]any{}
	for key, value := range keys {
		if was, ok := value.(map[string]any); ok && strings.EqualFold(key, "OtlpHeaders") {
			headers = was
		}
	}
	lines, err := f.headerLines(stdin)
	if err != nil {
		return err
	}
	for i, line := range append(lines, f.headers...) {
		from, separators := "--header", "="
		if i < len(lines) {
			from, separators = "--header-file", ":="
		}
		at := strings.IndexAny(line, separators)
		if at <= 0 {
			return usagef("%s: not a NAME, a %q and a VALUE (not shown, as it may be a credential)", from, separators[:1])
		}
		name, value := strings.TrimSpace(line[:at]), strings.TrimSpace(line[at+1:])
		block(headers).putText(name, value)
	}
	if len(headers) == 0 {
		files.headers = nil
		return nil
	}
	files.headers, err = writeBlock(block{"OtlpHeaders": headers}, files.headers)
	return err
}

// headerLines reads --header-file.
func (f *telemetryFlags) headerLines(stdin io.Reader) ([]string, error) {
	if f.headerFile == "" {
		return nil, nil
	}
	var content []byte
	var err error
	if f.headerFile == "-" {
		content, err = io.ReadAll(io.LimitReader(stdin, telemetry.OverlayLimit))
	} else {
		content, err = os.ReadFile(f.headerFile)
	}
	if err != nil {
		return nil, usagef("--header-file: %w", err)
	}
	var lines []string
	for line := range strings.Lines(string(content)) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			lines = append(lines, line)
		}
	}
	return lines, nil
}

func readBlock(dir, name string, content []byte) (block, error) {
	keys, err := telemetry.OverlayBlock(content)
	if err != nil {
		return nil, usagef("%s: %w; mend it, or begin anew with `linktrail telemetry reset`", filepath.Join(dir, name), err)
	}
	if keys == nil {
		keys = map[string]any{}
	}
	return keys, nil
}

// writeBlock is the content of a file with that block; nothing for one without keys that was not there.
func writeBlock(keys block, before []byte) ([]byte, error) {
	if len(keys) == 0 && len(before) == 0 {
		return nil, nil
	}
	content, err := yaml.Marshal(map[string]any{"Telemetry": map[string]any(keys)})
	if err != nil {
		return nil, fmt.Errorf("overlay: %w", err)
	}
	return append([]byte("# Written by `linktrail telemetry set`. All services follow this file while they run.\n"), content...), nil
}
