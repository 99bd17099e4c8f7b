package cmd

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/linktrail/linktrail/apps/linktrail/internal/up"
)

// TestReadUpFile reads the file of `linktrail up --config`; what is wrong in it is told by file, key and value.
func TestReadUpFile(t *testing.T) {
	read := func(t *testing.T, text string) (up.Options, error) {
		t.Helper()
		file := filepath.Join(t.TempDir(), "up.yaml")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		o := up.Options{Addr: "127.0.0.1:1", Example: true}
		return o, readUpFile(file, &o, func(name string) bool { return name == "addr" || name == "config" })
	}
	t.Run("OK", func(t *testing.T) {
		o, err := read(t, "addr: 127.0.0.1:2\nkafka: broker:9092\nredis:\nno-example: true\nservices:\n  url-api:\n    Console: {Enabled: false}\n")
		if err != nil {
			t.Fatal(err)
		}
		if o.Addr != "127.0.0.1:1" || o.Kafka != "broker:9092" || o.Redis != "" || o.Example || o.Services["url-api"]["Console"] == nil {
			t.Errorf("it reads %+v", o)
		}
	})
	for name, c := range map[string]struct{ text, tells string }{
		"ErrKey":      {"bogus: 1", `unknown key "bogus"; the keys are addr, `},
		"ErrConfig":   {"config: other.yaml", `unknown key "config"`},
		"ErrType":     {"kafka: 9092", "kafka: 9092 is no text; put it in quotes"},
		"ErrBool":     {"no-example: maybe", `no-example: "maybe" is not true or false`},
		"ErrServices": {"services: {url-api: 1}", "services: these are not keys below the name of a service"},
		"ErrYAML":     {"addr: [", "not YAML with the names of flags as keys: line 1: "},
		"ErrList":     {"- addr", "not YAML with the names of flags as keys"},
		"ErrTwice":    {"addr: a\naddr: b", "already set"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := read(t, c.text)
			if err == nil || !strings.Contains(err.Error(), c.tells) || !strings.Contains(err.Error(), "up.yaml: ") || strings.Contains(err.Error(), "JSON") {
				t.Errorf("it says %v, not %q", err, c.tells)
			}
		})
	}
}
