package store

import (
	"context"

	"github.com/linktrail/linktrail/internal/store/postgres"
	"github.com/linktrail/linktrail/internal/store/record"
	"github.com/linktrail/linktrail/internal/store/sqlite"
)

// Inspect looks at a store without changing anything, whatever state it is in, for people who look for a fault. The error
// is that of a configuration that is wrong, or of a database that could not be asked, as its driver told it: a PostgreSQL
// error may quote user and host, never the password.
func Inspect(ctx context.Context, c Config) (record.Condition, error) {
	kind, where, err := c.parse()
	if err != nil {
		return record.Condition{}, err
	}
	if kind == kindSQLite {
		return sqlite.Inspect(ctx, where)
	}
	return postgres.Inspect(ctx, where, c.connectTimeout())
}
