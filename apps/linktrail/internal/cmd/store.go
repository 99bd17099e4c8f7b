package cmd

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"github.com/zeromicro/go-zero/core/conf"

	"github.com/linktrail/linktrail/apps/linktrail/internal/up"
	"github.com/linktrail/linktrail/internal/clickstream"
	"github.com/linktrail/linktrail/internal/store"
)

// storeFlags say where the store is, for commands that work on it directly.
type storeFlags struct {
	dsn  string
	file string
}

// serviceFile is what of a service's YAML these commands use.
type serviceFile struct {
	Store       store.Config       `json:",optional"`
	ClickStream clickstream.Config `json:",optional"`
}

func (f *storeFlags) add(c *cobra.Command) {
	c.PersistentFlags().StringVar(&f.dsn, "store", "", "the store: postgres://… or sqlite:PATH [LINKTRAIL_STORE] (default that of the \"linktrail up\" of --data)")
	c.PersistentFlags().StringVar(&f.file, "config", "", "a service's YAML, whose Store (and ClickStream) to use")
}

// read returns the configuration that flags, environment or a service's YAML give.
func (f *storeFlags) read(data string) (serviceFile, error) {
	var c serviceFile
	if f.file != "" {
		if err := conf.Load(f.file, &c, conf.UseEnv()); err != nil {
			return c, usagef("%s: %w", f.file, err)
		}
	}
	switch {
	case f.dsn != "":
		c.Store.DSN = f.dsn
	case c.Store.DSN != "":
	case env("LINKTRAIL_STORE") != "":
		c.Store.DSN = env("LINKTRAIL_STORE")
	default:
		dsn, err := up.Postgres(data)
		if err != nil {
			return c, err
		}
		if dsn == "" {
			dsn = "sqlite:" + filepath.Join(data, "linktrail.db")
		}
		c.Store.DSN = dsn
	}
	if err := c.Store.Check(); err != nil {
		return c, usageError{err}
	}
	return c, nil
}

// open opens the store; the folder of `linktrail up` must be there already.
func (f *storeFlags) open(ctx context.Context, data string) (store.Store, error) {
	c, err := f.read(data)
	if err != nil {
		return nil, err
	}
	if c.Store.DSN == "sqlite:"+filepath.Join(data, "linktrail.db") {
		if _, err := os.Stat(data); err != nil {
			return nil, usagef("there is no store in %s: name one with --store or LINKTRAIL_STORE, or the folder of `linktrail up` with --data", data)
		}
	}
	s, err := store.Open(ctx, c.Store)
	if err != nil {
		return nil, fmt.Errorf("the store: %w", err)
	}
	return s, nil
}
