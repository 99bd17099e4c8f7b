package cmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/linktrail/linktrail/internal/apikey"
	"github.com/linktrail/linktrail/internal/store"
)

// shownKey is a key as it is printed.
type shownKey struct {
	ID        string         `json:"id"`
	Name      string         `json:"name"`
	Scopes    []apikey.Scope `json:"scopes"`
	CreatedAt time.Time      `json:"created_at"`
	RevokedAt *time.Time     `json:"revoked_at"`
	// Token is shown once, when the key is made.
	Token string `json:"token,omitempty"`
}

func showKey(k apikey.Key) shownKey {
	s := shownKey{ID: k.ID, Name: k.Name, Scopes: k.Scopes, CreatedAt: k.CreatedAt.UTC()}
	if !k.RevokedAt.IsZero() {
		s.RevokedAt = new(k.RevokedAt.UTC())
	}
	return s
}

func (k shownKey) scopeText() string {
	names := make([]string, len(k.Scopes))
	for i, scope := range k.Scopes {
		names[i] = string(scope)
	}
	return strings.Join(names, ",")
}

func (a *app) keysCommand() *cobra.Command {
	var flags storeFlags
	c := group("keys", "Manage API keys, in the store itself", `  linktrail keys create --name ci --scope links:write
  linktrail keys list --store postgres://linktrail:secret@localhost:5432/linktrail
  linktrail keys revoke 4k2m9x0q7abc`,
		a.keysCreateCommand(&flags), a.keysListCommand(&flags), a.keysRevokeCommand(&flags))
	flags.add(c)
	return c
}

// withStore opens the store for one piece of work.
func (a *app) withStore(ctx context.Context, flags *storeFlags, work func(store.Store) error) (err error) {
	s, err := flags.open(ctx, a.data)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	return work(s)
}

func (a *app) keysCreateCommand(flags *storeFlags) *cobra.Command {
	var (
		name   string
		scopes []string
	)
	c := &cobra.Command{
		Use:   "create",
		Short: "Make a key and print its token, once",
		Long:  "Make a key and print its token. The store keeps a hash of it alone: nobody can print it again.",
		Example: `  linktrail keys create --name ci
  linktrail keys create --name dashboard --scope links:read,stats:read
  linktrail keys create --name ci --output json`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			granted, err := apikey.ParseScopes(scopes)
			if err != nil {
				return usagef("--scope: %w", err)
			}
			key, token, err := apikey.New(name, granted, time.Now())
			if err != nil {
				return usagef("--%w", err)
			}
			err = a.withStore(c.Context(), flags, func(s store.Store) error { return s.CreateKey(c.Context(), key) })
			if err != nil {
				return err
			}
			shown := showKey(key)
			shown.Token = token
			return a.print(shown, func(w io.Writer) error {
				_, _ = fmt.Fprintf(a.err, "key %s may %s; this is its token, which is not shown again:\n", shown.ID, shown.scopeText())
				_, err := fmt.Fprintln(w, token)
				return err
			})
		},
	}
	all := make([]string, 0, len(apikey.Scopes()))
	for _, scope := range apikey.Scopes() {
		all = append(all, string(scope))
	}
	c.Flags().StringVar(&name, "name", defaultKeyName(), "whose key it is")
	c.Flags().StringSliceVar(&scopes, "scope", all, "what it may do; several with commas between")
	completes(c, "scope", all...)
	return c
}

func defaultKeyName() string {
	if user := os.Getenv("USER"); user != "" {
		return user
	}
	return "key"
}

func (a *app) keysListCommand(flags *storeFlags) *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "List all keys, oldest first",
		Example: "  linktrail keys list\n  linktrail keys list --output yaml",
		Args:    noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			shown := struct {
				Keys []shownKey `json:"keys"`
			}{[]shownKey{}}
			err := a.withStore(c.Context(), flags, func(s store.Store) error {
				keys, err := s.Keys(c.Context())
				for _, key := range keys {
					shown.Keys = append(shown.Keys, showKey(key))
				}
				return err
			})
			if err != nil {
				return err
			}
			return a.print(shown, func(w io.Writer) error {
				lines := [][]string{{"ID", "NAME", "SCOPES", "CREATED", "REVOKED"}}
				for _, key := range shown.Keys {
					revoked := "-"
					if key.RevokedAt != nil {
						revoked = key.RevokedAt.Format(time.RFC3339)
					}
					lines = append(lines, []string{key.ID, key.Name, key.scopeText(), key.CreatedAt.Format(time.RFC3339), revoked})
				}
				return rows(w, lines)
			})
		},
	}
}

func (a *app) keysRevokeCommand(flags *storeFlags) *cobra.Command {
	return &cobra.Command{
		Use:     "revoke ID...",
		Short:   "End keys; calls with them are refused from now on",
		Example: "  linktrail keys revoke 4k2m9x0q7abc",
		Args:    someArgs("IDs of keys"),
		RunE: func(c *cobra.Command, ids []string) error {
			err := a.withStore(c.Context(), flags, func(s store.Store) error {
				for _, id := range ids {
					if err := s.RevokeKey(c.Context(), id, time.Now()); err != nil {
						return err
					}
				}
				return nil
			})
			if err != nil {
				return err
			}
			return a.print(map[string]any{"revoked": ids}, func(w io.Writer) error {
				_, err := fmt.Fprintf(w, "revoked %s\n", strings.Join(ids, ", "))
				return err
			})
		},
	}
}
