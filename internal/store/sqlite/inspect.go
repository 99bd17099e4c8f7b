package sqlite

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/linktrail/linktrail/internal/store/record"
)

// Inspect tells the state of a file, migrated or not. The error for one that is not there wraps fs.ErrNotExist.
func Inspect(ctx context.Context, path string) (c record.Condition, err error) {
	info, err := os.Stat(path)
	if err != nil {
		return c, err
	}
	if info.IsDir() {
		return c, fmt.Errorf("%s is a folder", path)
	}
	c.OwnsClicks = true
	c.ReadOnly = readOnly(path)
	if c.Want, err = newestVersion(); err != nil {
		return c, err
	}
	db, err := connect(path, 1, "_pragma", "query_only(1)")
	if err != nil {
		return c, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	var version string
	if err := db.QueryRowContext(ctx, `SELECT sqlite_version()`).Scan(&version); err != nil {
		return c, err
	}
	c.Server = "SQLite " + version
	c.Have, err = schemaVersion(ctx, db)
	return c, err
}

// readOnly says why a database cannot be written: SQLite writes beside it too, so the folder counts.
func readOnly(path string) string {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err.Error()
	}
	_ = f.Close()
	f, err = os.CreateTemp(filepath.Dir(path), ".linktrail-*")
	if err != nil {
		return err.Error()
	}
	_ = f.Close()
	if err := os.Remove(f.Name()); err != nil {
		return err.Error()
	}
	return ""
}
