package postgres_test

import (
	"testing"

	"github.com/linktrail/linktrail/hack/testenv"
	"github.com/linktrail/linktrail/internal/store"
	"github.com/linktrail/linktrail/internal/store/storetest"
)

func fresh(t *testing.T) store.Config {
	t.Helper()
	return store.Config{DSN: testenv.Postgres(t)}
}

func TestStore(t *testing.T) { storetest.Run(t, fresh) }
