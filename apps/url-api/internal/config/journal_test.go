package config_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/linktrail/linktrail/apps/url-api/internal/config"
	"github.com/linktrail/linktrail/internal/clickstream/journal"
)

// TestJournal reads Journal blocks in place of that of the file that is shipped.
func TestJournal(t *testing.T) {
	shipped, err := os.ReadFile("../../etc/url-api.yaml")
	if err != nil {
		t.Fatal(err)
	}
	const block = "Journal:\n  Dir: data/url-api/journal\n"
	before, after, ok := strings.Cut(string(shipped), block)
	if !ok {
		t.Fatalf("etc/url-api.yaml does not hold %q", block)
	}
	load := func(t *testing.T, block string) (config.Config, error) {
		file := filepath.Join(t.TempDir(), "url-api.yaml")
		if err := os.WriteFile(file, []byte(before+block+after), 0o600); err != nil {
			t.Fatal(err)
		}
		return config.Load(file)
	}
	for name, tt := range map[string]struct {
		block string
		want  journal.Config
	}{
		"OK none":        {"", journal.Config{}},
		"OK a folder":    {block, journal.Config{Dir: "data/url-api/journal", MaxBytes: 256 << 20, SegmentBytes: 16 << 20, Full: journal.FullDropOldest}},
		"OK no folder":   {"Journal: {Dir: ''}\n", journal.Config{MaxBytes: 256 << 20, SegmentBytes: 16 << 20, Full: journal.FullDropOldest}},
		"OK all of them": {"Journal: {Dir: a, MaxBytes: 1048576, SegmentBytes: 65536, Full: refuse-new, Sync: true}\n", journal.Config{Dir: "a", MaxBytes: 1 << 20, SegmentBytes: 1 << 16, Full: journal.FullRefuseNew, Sync: true}},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := load(t, tt.block)
			if err != nil || c.Journal != tt.want {
				t.Errorf("%+v, %v, want %+v", c.Journal, err, tt.want)
			}
		})
	}
	for name, tt := range map[string]struct {
		block string
		want  []string // parts of the error
	}{
		"Err Dir":            {"Journal: {Sync: true}\n", []string{"Journal.Dir", `""`, "a folder, since other keys of Journal are set"}},
		"Err Full":           {"Journal: {Dir: a, Full: block}\n", []string{"Full", "block", "drop-oldest", "refuse-new"}},
		"Err SegmentBytes":   {"Journal: {Dir: a, SegmentBytes: 100000}\n", []string{"Journal.SegmentBytes", "100000", "a multiple of 65536 up to 1073741824"}},
		"Err MaxBytes":       {"Journal: {Dir: a, MaxBytes: 16777216}\n", []string{"Journal.MaxBytes", "16777216", "at least 4 times SegmentBytes"}},
		"Err MaxBytes, none": {"Journal: {Dir: a, MaxBytes: -1}\n", []string{"Journal.MaxBytes", "-1"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := load(t, tt.block)
			if err == nil {
				t.Fatal("it is taken")
			}
			for _, part := range tt.want {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("%q does not say %q", err, part)
				}
			}
		})
	}
}
