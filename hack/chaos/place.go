//go:build linux

package main

import (
	"context"
	"fmt"
	"os/exec"
	"runtime"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/linktrail/linktrail/hack/testenv/machine"
)

// place says where and of what a result was measured.
func (r *result) place(ctx context.Context, t *trial) {
	r.Machine, r.System = machine.Processor()+", "+machine.Memory(), machine.System()
	r.Revision = t.options.built.revision
	r.Versions = fmt.Sprintf("Go %s, Kafka %s, PostgreSQL %s", strings.TrimPrefix(runtime.Version(), "go"), t.kafkaVersion(ctx), t.postgresVersion(ctx))
}

// revision is the commit of the tree.
func revision(ctx context.Context) string {
	head, err := exec.CommandContext(ctx, "git", "rev-parse", "--short=12", "HEAD").Output()
	if err != nil {
		return "an unknown revision"
	}
	name := strings.TrimSpace(string(head))
	changes, err := exec.CommandContext(ctx, "git", "status", "--porcelain", "--", "apps", "internal", "go.mod").Output()
	if err != nil || len(changes) > 0 {
		name += " with changes"
	}
	return name
}

func (s *system) kafkaVersion(ctx context.Context) string {
	versions, err := s.admin.ApiVersions(ctx)
	if err != nil {
		return "unknown"
	}
	for _, v := range versions {
		return strings.TrimPrefix(v.VersionGuess(), "v")
	}
	return "unknown"
}

func (s *system) postgresVersion(ctx context.Context) string {
	version := "unknown"
	_ = s.query(ctx, func(conn *pgx.Conn) error { return conn.QueryRow(ctx, "SHOW server_version").Scan(&version) })
	version, _, _ = strings.Cut(version, " ")
	return version
}
