package server

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"

	"github.com/jackc/pgx/v5"

	"github.com/linktrail/linktrail/hack/testenv"
)

// postgresFlags are the server's settings. Durability is not what most tests are about: what is written need not survive the
// machine, nor PostgreSQL's own death.
func (o Options) postgresFlags() []string {
	flags := []string{"-c", "max_connections=200", "-c", "shared_buffers=128MB", "-c", "jit=off"}
	if o.Durable {
		return flags
	}
	return append(flags, "-c", "fsync=off", "-c", "synchronous_commit=off", "-c", "full_page_writes=off")
}

func postgres() definition {
	return definition{
		name:      "postgres",
		variables: []string{testenv.EnvPostgres},
		image:     "postgres:15",
		packages:  []string{"postgresql"},
		missing: func() string {
			if postgresBin() == "" {
				return "initdb"
			}
			return ""
		},
		start: startPostgres,
	}
}

// postgresBin returns the folder of the newest PostgreSQL, or "". Debian does not put it on the PATH.
func postgresBin() string {
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if len(found) > 0 {
		version := func(file string) int {
			n, _ := strconv.Atoi(filepath.Base(filepath.Dir(filepath.Dir(file))))
			return n
		}
		return filepath.Dir(slices.MaxFunc(found, func(a, b string) int { return version(a) - version(b) }))
	}
	if file, err := exec.LookPath("initdb"); err == nil {
		return filepath.Dir(file)
	}
	return ""
}

func startPostgres(ctx context.Context, l *launch) (map[string]string, error) {
	ports, err := freePorts(1)
	if err != nil {
		return nil, err
	}
	dsn := fmt.Sprintf("postgres://postgres@%s/postgres?sslmode=disable", loopback(ports[0]))
	var cmd *exec.Cmd
	if l.container {
		cmd = docker(l.image, []string{loopback(ports[0]) + ":5432"},
			[]string{"-e", "POSTGRES_HOST_AUTH_METHOD=trust"}, l.session.options.postgresFlags()...)
	} else if cmd, err = l.postgresCommand(ctx, ports[0]); err != nil {
		return nil, err
	}
	err = l.serve(ctx, cmd, syscall.SIGINT, func(ctx context.Context) error {
		conn, err := pgx.Connect(ctx, dsn)
		if err != nil {
			return err
		}
		defer func() { _ = conn.Close(ctx) }()
		_, err = conn.Exec(ctx, "SELECT 1")
		return err
	})
	return map[string]string{testenv.EnvPostgres: dsn}, err
}

// postgresCommand makes the data folder and returns the command that serves it.
func (l *launch) postgresCommand(ctx context.Context, port int) (*exec.Cmd, error) {
	bin, data := postgresBin(), filepath.Join(l.dir, "data")
	attributes, err := unprivileged(l.dir)
	if err != nil {
		return nil, err
	}
	initdb := exec.CommandContext(ctx, filepath.Join(bin, "initdb"), "-D", data, "-U", "postgres",
		"--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync")
	initdb.Dir, initdb.SysProcAttr = l.dir, attributes
	if output, err := initdb.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("initdb: %w\n%s", err, output)
	}
	args := []string{"-D", data, "-p", strconv.Itoa(port), "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="}
	cmd := exec.Command(filepath.Join(bin, "postgres"), append(args, l.session.options.postgresFlags()...)...)
	own := *attributes
	cmd.SysProcAttr = &own
	return cmd, nil
}

// unprivileged returns how to run as somebody else than root, which PostgreSQL refuses, and gives him the folder.
func unprivileged(dir string) (*syscall.SysProcAttr, error) {
	if os.Getuid() != 0 {
		return &syscall.SysProcAttr{}, nil
	}
	account, err := user.Lookup("postgres")
	if err != nil {
		return nil, fmt.Errorf("PostgreSQL does not run as root, and the user it could run as is not there: %w", err)
	}
	uid, err := strconv.ParseUint(account.Uid, 10, 32)
	if err != nil {
		return nil, err
	}
	gid, err := strconv.ParseUint(account.Gid, 10, 32)
	if err != nil {
		return nil, err
	}
	if err := os.Chown(dir, int(uid), int(gid)); err != nil {
		return nil, err
	}
	return &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}, nil
}
