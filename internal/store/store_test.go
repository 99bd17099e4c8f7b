package store_test

import (
	"strings"
	"testing"
	"time"

	"github.com/zeromicro/go-zero/core/conf"

	"github.com/linktrail/linktrail/internal/store"
)

func TestConfig(t *testing.T) {
	t.Run("OK as a block of YAML", func(t *testing.T) {
		var c struct{ Store store.Config }
		if err := conf.LoadFromYamlBytes([]byte("Store:\n  DSN: sqlite:data/linktrail.db\n"), &c); err != nil {
			t.Fatal(err)
		}
		want := store.Config{DSN: "sqlite:data/linktrail.db", MaxConns: 16, ConnectTimeout: 5 * time.Second}
		if c.Store != want {
			t.Errorf("got %+v, want %+v", c.Store, want)
		}
	})
	for dsn, want := range map[string]string{
		"":                          "not set",
		"linktrail.db":              "no scheme",
		"sqlite:":                   "path",
		"mysql://u:s3cret@h/d":      `"mysql"`,
		"host=h password=s3cret":    "no scheme",
		"sqlite:/nowhere/at/all.db": "linktrail migrate",
	} {
		t.Run("Err "+dsn, func(t *testing.T) {
			s, err := store.Open(t.Context(), store.Config{DSN: dsn})
			if err == nil {
				t.Fatal("opened", s.Close())
			}
			if !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "s3cret") {
				t.Errorf("got %q, want it to say %q and no password", err, want)
			}
		})
	}
}
