package cmd

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/linktrail/linktrail/apps/linktrail/internal/up"
)

// TestInImage finds the file that the image brings along, and reads the one that is shipped.
func TestInImage(t *testing.T) {
	t.Run("OK", func(t *testing.T) {
		t.Setenv("KO_DATA_PATH", "../../kodata")
		file := inImage()
		if file == "" {
			t.Fatal("the shipped file is not found")
		}
		var o up.Options
		if err := readUpFile(file, &o, func(string) bool { return false }); err != nil {
			t.Fatal(err)
		}
		if o.Addr != "0.0.0.0:8080" || o.APIAddr != "0.0.0.0:8081" {
			t.Errorf("the doors listen on %q and %q: nothing outside of the container reaches them", o.Addr, o.APIAddr)
		}
	})
	t.Run("OK elsewhere", func(t *testing.T) {
		for _, folder := range []string{"", t.TempDir()} {
			t.Setenv("KO_DATA_PATH", folder)
			if file := inImage(); file != "" {
				t.Errorf("KO_DATA_PATH=%q: found %s", folder, file)
			}
		}
	})
	t.Run("ErrFile", func(t *testing.T) {
		folder := t.TempDir()
		if err := os.WriteFile(filepath.Join(folder, "up.yaml"), []byte("adr: x"), 0o600); err != nil {
			t.Fatal(err)
		}
		t.Setenv("KO_DATA_PATH", folder)
		if code := Main(nil, t.Output(), t.Output()); code != ExitUsage {
			t.Errorf("a call without arguments ends with %d, not as `up` with a wrong file does", code)
		}
	})
}
