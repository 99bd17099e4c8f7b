package cmd

import (
	"errors"
	"strings"

	"github.com/linktrail/linktrail/apps/linktrail/internal/client"
	"github.com/linktrail/linktrail/apps/linktrail/internal/up"
)

// client returns a client of the server that flags, environment or a running `linktrail up` name. The local key goes to
// no server but its own.
func (a *app) client() (*client.Client, error) {
	server, key := a.server, a.apiKey
	if server == "" {
		server = env("LINKTRAIL_SERVER")
	}
	if key == "" {
		key = env("LINKTRAIL_API_KEY")
	}
	if server == "" || key == "" {
		run, err := up.ReadRunFile(a.data)
		switch {
		case err == nil && (server == "" || strings.TrimRight(server, "/") == run.API):
			server = run.API
			if key == "" {
				key = run.APIKey
			}
		case server != "":
		case errors.Is(err, up.ErrNotRunning):
			return nil, usagef("no linktrail runs on %s: start it with `linktrail up`, or name a server with --server or LINKTRAIL_SERVER", a.data)
		default:
			return nil, err
		}
	}
	c, err := client.New(server, key)
	if err != nil {
		return nil, usageError{err}
	}
	return c, nil
}
