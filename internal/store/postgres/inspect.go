package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/linktrail/linktrail/internal/store/record"
)

// Inspect tells the state of a database, migrated or not, on a connection of its own.
func Inspect(ctx context.Context, dsn string, connectTimeout time.Duration) (c record.Condition, err error) {
	config, err := pgx.ParseConfig(dsn)
	if err != nil {
		return c, fmt.Errorf("Store.DSN: %w", err)
	}
	prepare(config, connectTimeout)
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return c, err
	}
	defer func() { err = errors.Join(err, conn.Close(context.WithoutCancel(ctx))) }()
	if c.Want, err = newestVersion(); err != nil {
		return c, err
	}
	var standby, readOnly bool
	err = conn.QueryRow(ctx, `SELECT 'PostgreSQL ' || split_part(current_setting('server_version'), ' ', 1), current_user,
		pg_is_in_recovery(), current_setting('default_transaction_read_only')::bool`).Scan(&c.Server, &c.User, &standby, &readOnly)
	if err != nil {
		return c, err
	}
	switch {
	case standby:
		c.ReadOnly = "it is a standby"
	case readOnly:
		c.ReadOnly = "default_transaction_read_only is on"
	}
	err = conn.QueryRow(ctx, `SELECT coalesce(max(version_id), 0) FROM `+versionTable+` WHERE is_applied`).Scan(&c.Have)
	const undefinedTable, insufficientPrivilege = "42P01", "42501"
	if e, ok := errors.AsType[*pgconn.PgError](err); ok {
		switch e.Code {
		case undefinedTable:
			return c, nil
		case insufficientPrivilege:
			c.Denied = []string{versionTable + " SELECT"}
			return c, nil
		}
	}
	if err != nil {
		return c, err
	}
	return c, inspectTables(ctx, conn, &c)
}

// inspectTables looks for what the role may not do. Tables that a schema which is too old lacks are no finding.
func inspectTables(ctx context.Context, conn *pgx.Conn, c *record.Condition) error {
	rows, err := conn.Query(ctx, `SELECT t.relname || ' ' || p FROM pg_class t, unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) p
		WHERE t.oid IN (to_regclass('links'), to_regclass('clicks'), to_regclass('click_rollups'), to_regclass('api_keys'),
			to_regclass('purged_links'), to_regclass('click_retention'), to_regclass('deleted_links'))
		AND NOT has_table_privilege(t.oid, p) ORDER BY 1`)
	if err != nil {
		return err
	}
	if c.Denied, err = pgx.CollectRows(rows, pgx.RowTo[string]); err != nil {
		return err
	}
	return conn.QueryRow(ctx, `SELECT coalesce(bool_and(pg_has_role(relowner, 'USAGE')), true) FROM pg_class
		WHERE oid = to_regclass('clicks')`).Scan(&c.OwnsClicks)
}
