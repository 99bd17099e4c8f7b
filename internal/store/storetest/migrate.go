package storetest

import (
	"strings"
	"testing"

	"github.com/linktrail/linktrail/internal/store"
)

func testMigrate(t *testing.T, fresh func(*testing.T) store.Config) {
	t.Run("OK at once", func(t *testing.T) {
		const rounds, processes = 3, 4
		for range rounds {
			c := fresh(t)
			errs := make([]error, processes)
			together(processes, func(i int) { errs[i] = store.Migrate(t.Context(), c, nil) })
			for _, err := range errs {
				if err != nil {
					t.Errorf("migrate: %v", err)
				}
			}
			MustCreate(t, MustOpen(t, c), "works")
		}
	})
	t.Run("OK again keeps the data", func(t *testing.T) {
		c := fresh(t)
		var first, second []string
		if err := store.Migrate(t.Context(), c, func(step string) { first = append(first, step) }); err != nil {
			t.Fatal(err)
		}
		s := MustOpen(t, c)
		l := MustCreate(t, s, "kept")
		if err := store.Migrate(t.Context(), c, func(step string) { second = append(second, step) }); err != nil {
			t.Fatal(err)
		}
		if got, err := s.LinkByCode(t.Context(), "kept"); err != nil || got.ID != l.ID {
			t.Errorf("got %v, %v", got, err)
		}
		if len(first) < 2 || !strings.Contains(first[0], "00001") || len(second) != 1 {
			t.Errorf("progress was %q, then %q", first, second)
		}
	})
	t.Run("OK ping", func(t *testing.T) {
		if err := MustFresh(t, fresh).Ping(t.Context()); err != nil {
			t.Error(err)
		}
	})
	t.Run("ErrNotMigrated", func(t *testing.T) {
		s, err := store.Open(t.Context(), fresh(t))
		if err == nil {
			t.Fatal("a database without a schema opened:", s.Close())
		}
		if !strings.Contains(err.Error(), "linktrail migrate") {
			t.Errorf("error %q does not say what to type", err)
		}
	})
}
