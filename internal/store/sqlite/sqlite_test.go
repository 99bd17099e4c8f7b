package sqlite_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/linktrail/linktrail/internal/store"
	"github.com/linktrail/linktrail/internal/store/storetest"
)

func fresh(t *testing.T) store.Config {
	return store.Config{DSN: "sqlite:" + filepath.Join(t.TempDir(), "new folder", "link trail?.db")}
}

func TestStore(t *testing.T) { storetest.Run(t, fresh) }

func TestMigrate(t *testing.T) {
	t.Run("OK others cannot read the file", func(t *testing.T) {
		c := fresh(t)
		storetest.MustMigrate(t, c)
		file := c.DSN[len("sqlite:"):]
		for path, want := range map[string]os.FileMode{file: 0o600, filepath.Dir(file): 0o700} {
			info, err := os.Stat(path)
			if err != nil || info.Mode().Perm() != want {
				t.Errorf("%s: mode %v, %v; want %v", path, info.Mode().Perm(), err, want)
			}
		}
	})
	t.Run("OK opening makes no file", func(t *testing.T) {
		c := fresh(t)
		if s, err := store.Open(t.Context(), c); err == nil {
			t.Fatal("opened", s.Close())
		}
		if _, err := os.Stat(filepath.Dir(c.DSN[len("sqlite:"):])); !os.IsNotExist(err) {
			t.Errorf("got %v, want no folder", err)
		}
	})
}
