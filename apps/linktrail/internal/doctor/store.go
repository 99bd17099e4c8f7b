package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/linktrail/linktrail/apps/linktrail/internal/up"
	"github.com/linktrail/linktrail/internal/buildinfo"
	"github.com/linktrail/linktrail/internal/store"
	"github.com/linktrail/linktrail/internal/store/record"
)

// needs are the privileges that each service needs, as record.Condition names them.
var needs = map[string][]string{
	up.URLAPI: {"links SELECT", "links INSERT", "links UPDATE", "links DELETE", "api_keys SELECT", "purged_links SELECT",
		"purged_links INSERT", "purged_links UPDATE", "deleted_links INSERT"},
	up.AnalyticsRPC: {"links SELECT", "clicks SELECT", "click_rollups SELECT"},
	up.AnalyticsConsumer: {"clicks SELECT", "clicks INSERT", "click_rollups SELECT", "click_rollups INSERT", "click_rollups UPDATE",
		"links SELECT", "clicks DELETE", "click_rollups DELETE", "purged_links SELECT", "purged_links UPDATE", "click_retention SELECT"},
}

func storeCheck(c store.Config, services []Service) check {
	target := shownDSN(c.DSN)
	return check{target: target, run: func(ctx context.Context) (string, []Problem) {
		condition, err := store.Inspect(ctx, c)
		if err != nil {
			if path, ok := strings.CutPrefix(c.DSN, "sqlite:"); ok {
				return "", []Problem{sqliteFault(err, path, migration(c.DSN, services))}
			}
			return "", []Problem{postgresFault(ctx, err, c.DSN)}
		}
		return judgeStore(condition, migration(c.DSN, services), services)
	}}
}

// migration is the command that migrates a store. A service's YAML spares typing the password.
func migration(dsn string, services []Service) string {
	if len(services) > 0 {
		return "linktrail migrate --config " + quoted(services[0].File)
	}
	return "linktrail migrate --store " + quoted(shownDSN(dsn))
}

// judgeStore looks at what a database that answers says of itself.
func judgeStore(c record.Condition, migrate string, services []Service) (string, []Problem) {
	var problems []Problem
	switch {
	case slices.Contains(c.Denied, "linktrail_schema SELECT"):
		problems = append(problems, problem(KindPermission, fmt.Sprintf("as its owner: GRANT SELECT ON linktrail_schema TO %s", c.User),
			"the role %s may not read the table linktrail_schema", c.User))
	case c.Have == 0:
		problems = append(problems, problem(KindSchema, migrate, "it is not migrated: there is no schema"))
	case c.Have < c.Want:
		problems = append(problems, problem(KindSchema, migrate, "it is not migrated: its schema is at version %d, this linktrail needs %d", c.Have, c.Want))
	case c.Have > c.Want:
		problems = append(problems, problem(KindSchema, "use the linktrail that migrated it",
			"a newer linktrail migrated it: its schema is at version %d, this linktrail (%s) knows %d", c.Have, buildinfo.Read().Version, c.Want))
	}
	if c.ReadOnly != "" {
		try := "name the primary's address in Store.DSN, or end what makes it read-only"
		if c.User == "" {
			try = "give linktrail's user the right to write the file and its folder"
		}
		problems = append(problems, problem(KindReadOnly, try, "nothing can be written: %s", c.ReadOnly))
	}
	if denied := deniedTo(c.Denied, services); len(denied) > 0 && c.Have > 0 {
		problems = append(problems, problem(KindPermission, grants(denied, c.User), "the role %s lacks privileges: %s", c.User, strings.Join(denied, ", ")))
	}
	if !c.OwnsClicks && c.Have > 0 && anyIs(services, up.AnalyticsConsumer) {
		problems = append(problems, problem(KindPermission, "as its owner: ALTER TABLE clicks OWNER TO "+c.User,
			"the role %s does not own the table clicks, so analytics-consumer cannot make the partitions of coming months", c.User))
	}
	detail := fmt.Sprintf("%s, schema version %d", c.Server, c.Have)
	if c.User != "" {
		detail += ", role " + c.User
	}
	return detail, problems
}

// deniedTo are those of the denied privileges that a service needs.
func deniedTo(denied []string, services []Service) []string {
	var kept []string
	for _, privilege := range denied {
		for role, all := range needs {
			if anyIs(services, role) && slices.Contains(all, privilege) && !slices.Contains(kept, privilege) {
				kept = append(kept, privilege)
			}
		}
	}
	return kept
}

func grants(denied []string, user string) string {
	by := map[string][]string{}
	var tables []string
	for _, privilege := range denied {
		table, what, _ := strings.Cut(privilege, " ")
		if by[table] == nil {
			tables = append(tables, table)
		}
		by[table] = append(by[table], what)
	}
	statements := make([]string, len(tables))
	for i, table := range tables {
		statements[i] = fmt.Sprintf("GRANT %s ON %s TO %s", strings.Join(by[table], ", "), table, user)
	}
	return "as their owner: " + strings.Join(statements, "; ")
}

func sqliteFault(err error, path, migrate string) Problem {
	switch text := err.Error(); {
	case errors.Is(err, fs.ErrNotExist):
		return problem(KindFile, migrate, "there is no file %s", path)
	case errors.Is(err, fs.ErrPermission), strings.Contains(text, "unable to open"):
		return problem(KindFile, "give linktrail's user the right to read and write it and its folder "+filepath.Dir(path), "%s cannot be opened: %s", path, oneLine(err))
	case strings.Contains(text, "not a database"), strings.Contains(text, "malformed"):
		return problem(KindFile, "name another file in Store.DSN, or restore this one from a backup", "%s is not a SQLite database, or is damaged", path)
	case timedOut(err), strings.Contains(text, "locked"):
		return problem(KindTimeout, "look which process holds it: `fuser "+path+"`", "%s is locked by another process", path)
	}
	return problem(KindFile, "name a file in Store.DSN, such as sqlite:data/linktrail.db", "%s", oneLine(err))
}

// SQLSTATEs, of PostgreSQL's appendix A.
const (
	invalidPassword      = "28P01"
	invalidAuthorization = "28000"
	invalidCatalog       = "3D000"
	noPrivilege          = "42501"
	tooManyConnections   = "53300"
	cannotConnectNow     = "57P03"
)

func postgresFault(ctx context.Context, err error, dsn string) Problem {
	config, parseErr := pgx.ParseConfig(dsn)
	if parseErr != nil {
		return problem(KindConfig, "write it as postgres://user:password@host:5432/database", "%s", oneLine(err))
	}
	addr := net.JoinHostPort(config.Host, strconv.Itoa(int(config.Port)))
	if e, ok := errors.AsType[*pgconn.PgError](err); ok {
		return refusal(e, config)
	}
	k := keys{address: "Store.DSN", enable: "sslmode", ca: "sslrootcert of Store.DSN", cert: "sslcert and sslkey of Store.DSN"}
	text := err.Error()
	if strings.Contains(text, "server refused TLS connection") || strings.Contains(text, "failed to receive message") {
		if !speaksPostgres(ctx, addr) && !strings.HasPrefix(config.Host, "/") && ctx.Err() == nil {
			return problem(KindProtocol, "correct host and port in Store.DSN", "%s is not a PostgreSQL: its answer makes no sense", addr)
		}
	}
	switch {
	case strings.Contains(text, "server refused TLS connection"):
		return problem(KindTLS, "switch TLS on at the server, or use sslmode=disable in Store.DSN", "%s does not speak TLS, which sslmode asks for", addr)
	case strings.Contains(text, "server asked for SASL") || strings.Contains(text, "empty password") || strings.Contains(text, "password must be"):
		return problem(KindCredentials, "put a password into Store.DSN, or set PGPASSWORD", "%s asks for a password and none is given", addr)
	}
	if timedOut(err) && !dialing(err) || ctx.Err() != nil && !dialing(err) {
		return silent(addr, k)
	}
	return network(err, addr, k)
}

// speaksPostgres asks a server whether it has TLS, which every PostgreSQL answers with one letter.
func speaksPostgres(ctx context.Context, addr string) bool {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return false
	}
	defer func() { _ = conn.Close() }()
	if end, ok := ctx.Deadline(); ok {
		_ = conn.SetDeadline(end)
	}
	question := [8]byte{0, 0, 0, 8, 4, 210, 22, 47} // SSLRequest, 80877103
	answer := make([]byte, 2)
	if _, err := conn.Write(question[:]); err != nil {
		return false
	}
	n, err := conn.Read(answer)
	return err == nil && (n == 1 && (answer[0] == 'S' || answer[0] == 'N') || answer[0] == 'E')
}

// refusal is what a PostgreSQL said.
func refusal(e *pgconn.PgError, c *pgx.ConnConfig) Problem {
	switch {
	case e.Code == invalidPassword && c.Password == "":
		return problem(KindCredentials, "put the password into Store.DSN, or set PGPASSWORD", "the role %q needs a password and none is given", c.User)
	case e.Code == invalidPassword:
		return problem(KindCredentials, "correct user and password in Store.DSN; for a new password: ALTER ROLE "+c.User+" PASSWORD '…'",
			"the server refuses the password of role %q, or has no such role", c.User)
	case e.Code == invalidAuthorization && strings.Contains(e.Message, "does not exist"):
		return problem(KindCredentials, "correct the user in Store.DSN, or make it: CREATE ROLE "+c.User+" LOGIN PASSWORD '…'", "there is no role %q", c.User)
	case e.Code == invalidAuthorization && strings.Contains(e.Message, "pg_hba.conf"):
		return problem(KindCredentials, "allow it in the server's pg_hba.conf; \"no encryption\" there means that TLS is wanted: sslmode=require",
			"the server lets nobody in from here as role %q: %s", c.User, e.Message)
	case strings.HasPrefix(e.Code, "28"):
		return problem(KindCredentials, "correct user and password in Store.DSN", "%s", e.Message)
	case e.Code == invalidCatalog:
		return problem(KindDatabase, fmt.Sprintf("correct its name in Store.DSN, or make it: CREATE DATABASE %s OWNER %s", c.Database, c.User),
			"there is no database %q", c.Database)
	case e.Code == noPrivilege:
		return problem(KindPermission, fmt.Sprintf("GRANT CONNECT ON DATABASE %s TO %s", c.Database, c.User), "%s", e.Message)
	case e.Code == tooManyConnections:
		return problem(KindUnavailable, "raise max_connections, or lower Store.MaxConns of the services", "%s", e.Message)
	case e.Code == cannotConnectNow:
		return problem(KindUnavailable, "wait; look at the server's log if it lasts", "%s", e.Message)
	}
	return problem(KindOther, "look at the server's log", "%s (SQLSTATE %s)", e.Message, e.Code)
}

// shownDSN is a DSN without its password.
func shownDSN(dsn string) string {
	if strings.HasPrefix(dsn, "sqlite:") {
		return dsn
	}
	u, err := url.Parse(dsn)
	if err != nil {
		return "postgres://…"
	}
	query := u.Query()
	for key := range query {
		if strings.Contains(strings.ToLower(key), "password") {
			query.Set(key, "…")
		}
	}
	if u.RawQuery != "" {
		u.RawQuery = query.Encode()
	}
	if _, has := u.User.Password(); has {
		u.User = url.UserPassword(u.User.Username(), "…")
	}
	text := u.String()
	return strings.ReplaceAll(text, url.PathEscape("…"), "…")
}

// quoted is a text as a shell takes it.
func quoted(text string) string {
	if text != "" && !strings.ContainsFunc(text, func(r rune) bool {
		return !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./:@%+=,…", r)
	}) {
		return text
	}
	return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
}
