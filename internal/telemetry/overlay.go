package telemetry

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"

	"sigs.k8s.io/yaml"
)

// The files of an overlay folder, each of which may be missing, as the folder may.
const (
	// OverlayFile holds a Telemetry block whose keys win over the service's own,
	// one by one.
	OverlayFile = "telemetry.yaml"
	// HeadersFile holds a Telemetry block with OtlpHeaders alone, which replace all
	// others: the part of the overlay that is secret.
	HeadersFile = "headers.yaml"
)

// OverlayLimit is how large either file may be, in bytes.
const OverlayLimit = 64 << 10

// OverlayHash names the content of an overlay: whoever wrote the files finds it in
// Status once they are in force. It is "" when there is no content; an empty file
// counts as none. It is the first 32 hexadecimal digits of the SHA-256 of the
// length of telemetry.yaml in decimal, a line's end, telemetry.yaml and
// headers.yaml.
func OverlayHash(telemetryYAML, headersYAML []byte) string {
	if len(telemetryYAML) == 0 && len(headersYAML) == 0 {
		return ""
	}
	sum := sha256.New()
	_, _ = fmt.Fprintf(sum, "%d\n", len(telemetryYAML))
	_, _ = sum.Write(telemetryYAML)
	_, _ = sum.Write(headersYAML)
	return hex.EncodeToString(sum.Sum(nil)[:16])
}

// Overlaid is the configuration with an overlay's files on top, checked. Files of
// keys and certificates that the overlay names are taken from its folder, dir,
// when they are not absolute. The error names the file, every wrong key, its value
// and what is allowed, and never the value of a header.
func (c Config) Overlaid(dir string, telemetryYAML, headersYAML []byte) (Config, error) {
	file, headersFile := filepath.Join(dir, OverlayFile), filepath.Join(dir, HeadersFile)
	over, err := parseOverlay(telemetryYAML)
	if err != nil {
		return Config{}, fmt.Errorf("%s: %w", file, err)
	}
	name := c.Name
	if err := c.set(over); err != nil {
		return Config{}, fmt.Errorf("%s: %w", file, err)
	}
	if c.Name != name {
		return Config{}, fmt.Errorf("%s: %w", file, errRenamed(name, c.Name))
	}
	c.resolve(dir, over)
	if err := c.setSecretHeaders(headersYAML); err != nil {
		return Config{}, fmt.Errorf("%s: %w", headersFile, err)
	}
	if err := c.Validate(); err != nil {
		return Config{}, fmt.Errorf("%s: %w", file, err)
	}
	return c, nil
}

// resolve takes the files that a block of an overlay names from its folder.
func (c *Config) resolve(dir string, block map[string]any) {
	for key, path := range map[string]*string{
		"OtlpCaFile": &c.OtlpCaFile, "OtlpCertFile": &c.OtlpCertFile, "OtlpKeyFile": &c.OtlpKeyFile,
	} {
		if given, _ := lookup(block, key); given != nil && *path != "" && !filepath.IsAbs(*path) {
			*path = filepath.Join(dir, *path)
		}
	}
}

func errRenamed(from, to string) error {
	return fmt.Errorf("Telemetry.Name: %q cannot become %q without a restart; leave Name out", from, to)
}

// setSecretHeaders reads headers.yaml.
func (c *Config) setSecretHeaders(content []byte) error {
	block, err := parseOverlay(content)
	if err != nil {
		return err
	}
	for key := range block {
		if !strings.EqualFold(key, "OtlpHeaders") {
			return fmt.Errorf("Telemetry.%s: unknown key; this file holds OtlpHeaders alone", key)
		}
	}
	if err := c.set(block); err != nil {
		return err
	}
	if len(block) == 0 {
		return nil
	}
	return c.checkHeaders()
}

// OverlayBlock is the Telemetry block of an overlay's file, by keys as they are
// written there; nil when it has none. Keys and values are not checked.
func OverlayBlock(content []byte) (map[string]any, error) { return parseOverlay(content) }

// parseOverlay reads the Telemetry block of an overlay's file; nil when it has
// none. A file may hold credentials in any place where someone put them by
// mistake, so its errors show keys alone.
func parseOverlay(content []byte) (map[string]any, error) {
	if len(content) > OverlayLimit {
		return nil, fmt.Errorf("it is larger than %d bytes", OverlayLimit)
	}
	var document any
	if err := yaml.UnmarshalStrict(content, &document); err != nil {
		return nil, explainYAML(err)
	}
	top, ok := document.(map[string]any)
	if !ok && document != nil {
		return nil, errors.New("not a YAML mapping; it holds one block, Telemetry")
	}
	for key := range top {
		if !strings.EqualFold(key, "Telemetry") {
			return nil, fmt.Errorf("%s: unknown key; the file holds one block, Telemetry", key)
		}
	}
	value, err := lookup(top, "Telemetry")
	if err != nil || value == nil {
		return nil, err
	}
	block, ok := value.(map[string]any)
	if !ok {
		return nil, errors.New("Telemetry: not a mapping of keys to values")
	}
	return block, nil
}

// yamlFaults are what the parser says without showing content.
var yamlFaults = []string{
	"found character that cannot start any token", "mapping values are not allowed in this context",
	"did not find expected key", "did not find expected node content", "could not find expected ':'",
	"did not find expected ',' or ']'", "did not find expected ',' or '}'", "found unexpected end of stream",
	"document contains excessive aliasing", "control characters are not allowed", "unsupported value: NaN",
}

var yamlLine = regexp.MustCompile(`line ([0-9]+)`)

// explainYAML keeps of a parser's error what shows none of the content.
func explainYAML(err error) error {
	text, where := err.Error(), ""
	if line := yamlLine.FindStringSubmatch(text); line != nil {
		where = " at line " + line[1]
	}
	if strings.Contains(text, "already set in map") || strings.Contains(text, "already defined") {
		return fmt.Errorf("a key is given twice%s", where)
	}
	for _, fault := range yamlFaults {
		if strings.Contains(text, fault) {
			return fmt.Errorf("not YAML%s: %s", where, fault)
		}
	}
	return fmt.Errorf("not YAML%s", where)
}

// overlay is what an overlay folder holds at one moment.
type overlay struct {
	telemetry, headers []byte
	unreadable         error
}

// readOverlay reads a folder. What is missing is empty.
func readOverlay(dir string) (o overlay) {
	if dir == "" {
		return overlay{}
	}
	var errs [2]error
	for i, file := range []struct {
		name string
		to   *[]byte
	}{{OverlayFile, &o.telemetry}, {HeadersFile, &o.headers}} {
		content, err := readBounded(filepath.Join(dir, file.name), OverlayLimit)
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
			continue
		}
		*file.to, errs[i] = content, err
	}
	o.unreadable = errors.Join(errs[:]...)
	return o
}

// readBounded reads a regular file; one byte beyond the limit tells that it is too
// large. It waits for no pipe's other end.
func readBounded(path string, limit int64) ([]byte, error) {
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }()
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: not a regular file", path)
	}
	return io.ReadAll(io.LimitReader(file, limit+1))
}

func (o overlay) hash() string { return OverlayHash(o.telemetry, o.headers) }

func (o overlay) equal(other overlay) bool {
	return bytes.Equal(o.telemetry, other.telemetry) && bytes.Equal(o.headers, other.headers) &&
		fmt.Sprint(o.unreadable) == fmt.Sprint(other.unreadable)
}

// target is what an overlay asks for.
type target struct {
	overlay overlay
	cfg     Config
	err     error  // why it is refused
	tls     string // which files of keys and certificates there are, by their identity
}

// aim works out what an overlay on a base asks for.
func aim(base Config, dir string, o overlay) target {
	t := target{overlay: o, err: o.unreadable}
	if t.err == nil {
		t.cfg, t.err = base.Overlaid(dir, o.telemetry, o.headers)
	}
	named := t.cfg
	if t.err != nil {
		// The files that a refused overlay names may be what it is refused for.
		named = base
		if block, err := parseOverlay(o.telemetry); err == nil {
			_ = named.set(block)
			named.resolve(dir, block)
		}
	}
	t.tls = identify(named)
	return t
}

func (t target) equal(other target) bool { return t.overlay.equal(other.overlay) && t.tls == other.tls }

// sound says that it does not look like something half written.
func (t target) sound(before overlay) bool {
	emptied := func(now, before []byte) bool { return len(now) == 0 && len(before) > 0 }
	return t.err == nil && !emptied(t.overlay.telemetry, before.telemetry) && !emptied(t.overlay.headers, before.headers)
}

// identify tells files of keys and certificates apart from those that replace
// them.
func identify(c Config) string {
	var b strings.Builder
	for _, path := range []string{c.OtlpCaFile, c.OtlpCertFile, c.OtlpKeyFile} {
		b.WriteByte(';')
		if path == "" {
			continue
		}
		info, err := os.Stat(path)
		if err != nil {
			continue
		}
		b.WriteString(strconv.FormatInt(info.Size(), 36) + "@" + strconv.FormatInt(info.ModTime().UnixNano(), 36))
		if stat, ok := info.Sys().(*syscall.Stat_t); ok {
			b.WriteString("#" + strconv.FormatUint(stat.Ino, 36))
		}
	}
	return b.String()
}
