package telemetry

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"
)

func TestOverlaid(t *testing.T) {
	base := Config{Name: "url-api", Batcher: BatcherOTLPGRPC, Endpoint: "own:4317", Sampler: 0.5, OtlpHeaders: map[string]string{"own": "o"}}
	with := func(change func(*Config)) Config {
		c := base
		change(&c)
		return c
	}
	for name, tc := range map[string]struct {
		telemetry, headers string
		want               Config
	}{
		"nothing":           {"", "", base},
		"an empty block":    {"Telemetry:\n", "Telemetry: {}\n", base},
		"comments alone":    {"# nothing yet\n", "# nothing yet\n", base},
		"one key":           {"Telemetry:\n  Sampler: 0.01\n", "", with(func(c *Config) { c.Sampler = 0.01 })},
		"zero is a value":   {"Telemetry:\n  Sampler: 0\n", "", with(func(c *Config) { c.Sampler = 0 })},
		"a key without one": {"Telemetry:\n  Sampler:\n", "", base},
		"the same name":     {"Telemetry:\n  Name: url-api\n", "", base},
		"any case":          {"telemetry:\n  endpoint: other:4317\n", "", with(func(c *Config) { c.Endpoint = "other:4317" })},
		"headers replace": {"Telemetry:\n  OtlpHeaders: {a: b}\n", "Telemetry:\n  OtlpHeaders: {token: x}\n",
			with(func(c *Config) { c.OtlpHeaders = map[string]string{"token": "x"} })},
		"no headers":     {"", "Telemetry:\n  OtlpHeaders: {}\n", with(func(c *Config) { c.OtlpHeaders = map[string]string{} })},
		"a dollar stays": {"", "Telemetry:\n  OtlpHeaders: {token: $HOME}\n", with(func(c *Config) { c.OtlpHeaders = map[string]string{"token": "$HOME"} })},
	} {
		t.Run("OK/"+name, func(t *testing.T) {
			got, err := base.Overlaid("overlay", []byte(tc.telemetry), []byte(tc.headers))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
		})
	}
	const secret = "s3cr3t-value"
	long := "# " + strings.Repeat("x", OverlayLimit)
	for name, tc := range map[string]struct{ telemetry, headers, want string }{
		"Value":           {"Telemetry:\n  Sampler: 7\n", "", "overlay/telemetry.yaml: Telemetry.Sampler: 7 is not a number from 0 (no trace) to 1 (every trace)"},
		"Name":            {"Telemetry:\n  Name: other\n", "", `overlay/telemetry.yaml: Telemetry.Name: "url-api" cannot become "other" without a restart; leave Name out`},
		"TopKey":          {"Sampler: 0.1\n", "", "overlay/telemetry.yaml: Sampler: unknown key; the file holds one block, Telemetry"},
		"Key":             {"Telemetry:\n  Sampel: 0.1\n", "", "Telemetry.Sampel: unknown key; the keys are Name,"},
		"Twice":           {"Telemetry:\n  Sampler: 1\n  Sampler: 0\n", "", "overlay/telemetry.yaml: a key is given twice at line 3"},
		"List":            {"- a\n", "", "overlay/telemetry.yaml: not a YAML mapping"},
		"Torn":            {"Telemetry:\n  Endpoint: [a", "", "overlay/telemetry.yaml: not YAML at line"},
		"Tab":             {"Telemetry:\n\tSampler: 1\n", "", "not YAML at line 2: found character that cannot start any token"},
		"TooLarge":        {long, "", "overlay/telemetry.yaml: it is larger than 65536 bytes"},
		"HeadersTooLarge": {"", long, "overlay/headers.yaml: it is larger"},
		"HeadersKey":      {"", "Telemetry:\n  Endpoint: " + secret + "\n", "overlay/headers.yaml: Telemetry.Endpoint: unknown key; this file holds OtlpHeaders alone"},
		"HeadersName":     {"", "Telemetry:\n  OtlpHeaders: {'to ken': " + secret + "}\n", `overlay/headers.yaml: Telemetry.OtlpHeaders: "to ken" is not a header name`},
		"HeadersValue":    {"", "Telemetry:\n  OtlpHeaders: {token: \"" + secret + "\\n\"}\n", `the value of "token" (not shown) has a control character`},
		"HeadersText":     {"", "Telemetry: " + secret + "\n", "overlay/headers.yaml: Telemetry: not a mapping"},
		"HeadersBare":     {"", secret, "overlay/headers.yaml: not a YAML mapping"},
		"HeadersTorn":     {"", "Telemetry:\n  OtlpHeaders: {token: '" + secret, "overlay/headers.yaml: not YAML at line"},
		"HeadersAnchor":   {"", "Telemetry: *" + secret + "\n", "overlay/headers.yaml: not YAML"},
		"HeadersTwice":    {"", "Telemetry:\n  OtlpHeaders:\n    token: " + secret + "\n    token: " + secret + "\n", "overlay/headers.yaml: a key is given twice at line 4"},
		"Indentation":     {"Telemetry:\n  OtlpHeaders:\n  Authorization: " + secret + "\n", "", "Telemetry.Authorization: unknown key; the keys are"},
		"CA":              {"Telemetry: {OtlpGrpcSecure: true, OtlpCaFile: ca.pem}\n", "", "Telemetry.OtlpCaFile: open overlay/ca.pem: no such file"},
		"Credential":      {"Telemetry: {Batcher: zipkin, Endpoint: 'ftp://user:" + secret + "@z/?k=" + secret + "'}\n", "", `Telemetry.Endpoint: "ftp://***@z/?***" has no http:// or https://`},
	} {
		t.Run("Err"+name, func(t *testing.T) {
			_, err := base.Overlaid("overlay", []byte(tc.telemetry), []byte(tc.headers))
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got  %v\nwant %s", err, tc.want)
			}
			if err != nil && strings.Contains(err.Error(), secret) {
				t.Errorf("the error shows what may be a credential: %v", err)
			}
		})
	}
}

// Scripts and controllers compute it themselves, so it stays as it is.
func TestOverlayHash(t *testing.T) {
	for _, tc := range []struct{ telemetry, headers, want string }{
		{"", "", ""},
		{"Telemetry:\n  Sampler: 0.01\n", "", "e9d5eeb43a76096b56520a95592df273"},
		{"", "Telemetry:\n  Sampler: 0.01\n", "788cffe7e2ed345797f6e94f000d2a08"},
	} {
		if got := OverlayHash([]byte(tc.telemetry), []byte(tc.headers)); got != tc.want {
			t.Errorf("the hash of %q and %q is %q, want %q", tc.telemetry, tc.headers, got, tc.want)
		}
	}
	if OverlayHash([]byte("ab"), []byte("c")) == OverlayHash([]byte("a"), []byte("bc")) {
		t.Error("what moves from one file to the other leaves the hash as it is")
	}
}

func TestReadOverlay(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, OverlayFile)
	t.Run("OKMissing", func(t *testing.T) {
		for _, dir := range []string{dir, filepath.Join(dir, "no", "such")} {
			if o := readOverlay(dir); o.hash() != "" || o.unreadable != nil {
				t.Errorf("got %q, %v", o.hash(), o.unreadable)
			}
		}
	})
	t.Run("OKDanglingLink", func(t *testing.T) {
		must(t, os.Symlink("..data/telemetry.yaml", file))
		if o := readOverlay(dir); o.unreadable != nil {
			t.Error(o.unreadable)
		}
		must(t, os.Remove(file))
	})
	t.Run("ErrFolder", func(t *testing.T) {
		must(t, os.Mkdir(file, 0o700))
		if o := readOverlay(dir); o.unreadable == nil || !strings.Contains(o.unreadable.Error(), file+": not a regular file") {
			t.Errorf("got %v", o.unreadable)
		}
		must(t, os.Remove(file))
	})
	t.Run("ErrTooLarge", func(t *testing.T) {
		MustWriteFile(t, file, strings.Repeat("#", 10*OverlayLimit))
		if o := readOverlay(dir); len(o.telemetry) != OverlayLimit+1 {
			t.Errorf("%d bytes were read", len(o.telemetry))
		}
	})
}

// FuzzOverlay: whatever the files hold, nothing panics, no error shows a header's
// value, and what is accepted is valid.
func FuzzOverlay(f *testing.F) {
	// The marker is part of each value that must not be shown.
	const marker = "s3cr3t"
	for _, seed := range [][2]string{
		{"", ""},
		{"Telemetry:\n  Sampler: 0.01\n", ""},
		{"Telemetry:\n  Endpoint: collector:4318\n  Batcher: otlphttp\n  OtlpHttpSecure: true\n", "Telemetry:\n  OtlpHeaders:\n    Authorization: Bearer s3cr3t\n"},
		{"Telemetry: {Batcher: zipkin, Endpoint: 'http://u:s3cr3t@z:9411/?k=s3cr3t'}", "Telemetry: {OtlpHeaders: {a: 5, b: [s3cr3t]}}"},
		{"Telemetry:\n  OtlpHeaders:\n  Authorization: s3cr3t\n", "Telemetry: &a\n  OtlpHeaders: *a\n"},
		{"Telemetry: {Sampler: .nan}", "Telemetry: !!binary s3cr3t"},
		{"Telemetry:\n\tSampler: 1", "? {s3cr3t: 1}\n: 2"},
		{"{\"Telemetry\": {\"Disabled\": true}}", "Telemetry: {OtlpHeaders: {\"a b\": \"s3cr3t\\n\"}}"},
	} {
		f.Add([]byte(seed[0]), []byte(seed[1]))
	}
	base := Config{Name: "url-api", Batcher: BatcherOTLPGRPC, Endpoint: "own:4317", Sampler: 1}
	f.Fuzz(func(t *testing.T, telemetryYAML, headersYAML []byte) {
		got, err := base.Overlaid("overlay", telemetryYAML, headersYAML)
		text := fmt.Sprint(err)
		if err == nil {
			if err := got.Validate(); err != nil {
				t.Errorf("accepted and not valid: %v", err)
			}
			if got.Name != base.Name {
				t.Errorf("the name became %q", got.Name)
			}
			text = fmt.Sprint(got, OverlayHash(telemetryYAML, headersYAML))
		}
		if strings.Contains(text, marker) && !shownOnPurpose(telemetryYAML, headersYAML, marker) {
			t.Errorf("shown: %s", text)
		}
	})
}

// shownOnPurpose says whether the marker is where it may be shown: in a key, or in
// the value of a key of telemetry.yaml other than OtlpHeaders.
func shownOnPurpose(telemetryYAML, headersYAML []byte, marker string) bool {
	var own, secret any
	_ = yaml.Unmarshal(telemetryYAML, &own)
	_ = yaml.Unmarshal(headersYAML, &secret)
	var inKey func(any) bool
	inKey = func(v any) bool {
		switch v := v.(type) {
		case map[string]any:
			for key, value := range v {
				if strings.Contains(key, marker) || inKey(value) {
					return true
				}
			}
		case []any:
			for _, value := range v {
				if inKey(value) {
					return true
				}
			}
		}
		return false
	}
	if inKey(own) || inKey(secret) {
		return true
	}
	top, _ := own.(map[string]any)
	for key, block := range top {
		keys, _ := block.(map[string]any)
		for name, value := range keys {
			text, ok := value.(string)
			if strings.EqualFold(name, "Endpoint") {
				if batcher, _ := lookup(keys, "Batcher"); batcher != BatcherFile {
					text = Config{Endpoint: text}.shownEndpoint()
				}
			}
			if strings.EqualFold(key, "Telemetry") && !strings.EqualFold(name, "OtlpHeaders") && ok && strings.Contains(text, marker) {
				return true
			}
		}
	}
	return false
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
