//go:build linux

package main

import (
	"context"
	"os/exec"
	"regexp"
	"runtime"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/linktrail/linktrail/hack/testenv/machine"
)

// fact is a line about what was measured and on what.
type fact struct{ what, is string }

// facts tells the machine, the versions and the revision.
func facts(ctx context.Context, s *system, o options) []fact {
	list := []fact{
		{"processor", machine.Processor()},
		{"memory", machine.Memory()},
		{"system", machine.System()},
		{"Go", strings.TrimPrefix(runtime.Version(), "go")},
		{"Kafka", kafkaVersion(ctx, s) + ", one broker"},
		{"PostgreSQL", postgresVersion(ctx, s)},
	}
	if o.nginx {
		list = append(list, fact{"nginx", nginxVersion(ctx)})
	}
	return append(list,
		fact{"linktrail", revision(ctx, o.binary)},
		fact{"measured", time.Now().UTC().Format("2006-01-02 15:04 MST")},
	)
}

// output returns what a command prints, or "unknown".
func output(ctx context.Context, name string, args ...string) string {
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(out))
}

func nginxVersion(ctx context.Context) string {
	_, version, _ := strings.Cut(output(ctx, "nginx", "-v"), "nginx/")
	return version
}

var revisionOf = regexp.MustCompile(`revision ([0-9a-f]{12})[0-9a-f]*(\+dirty)?`)

// revision is the commit that the binary was built from.
func revision(ctx context.Context, binary string) string {
	found := revisionOf.FindStringSubmatch(output(ctx, binary, "version"))
	switch {
	case found == nil:
		return "an unknown revision"
	case found[2] != "":
		return found[1] + " with changes"
	}
	return found[1]
}

func kafkaVersion(ctx context.Context, s *system) string {
	versions, err := s.admin.ApiVersions(ctx)
	if err != nil {
		return "unknown"
	}
	for _, v := range versions {
		return strings.TrimPrefix(v.VersionGuess(), "v")
	}
	return "unknown"
}

func postgresVersion(ctx context.Context, s *system) string {
	conn, err := pgx.Connect(ctx, s.dsn)
	if err != nil {
		return "unknown"
	}
	defer func() { _ = conn.Close(ctx) }()
	var version string
	if err := conn.QueryRow(ctx, "SHOW server_version").Scan(&version); err != nil {
		return "unknown"
	}
	version, _, _ = strings.Cut(version, " ")
	return version
}
