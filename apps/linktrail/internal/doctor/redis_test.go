package doctor

import (
	"bufio"
	"crypto/rand"
	"io"
	"net"
	"strconv"
	"strings"
	"testing"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"github.com/linktrail/linktrail/hack/testenv"
	"github.com/linktrail/linktrail/internal/linkcache"
)

func examineRedisAt(t *testing.T, c linkcache.RedisConfig) Report {
	t.Helper()
	return examine(t, System{Redis: &c}, patience)
}

func TestRedis(t *testing.T) {
	addr := testenv.Redis(t)
	t.Run("OK", func(t *testing.T) {
		wantOK(t, examineRedisAt(t, linkcache.RedisConfig{Addrs: []string{addr}}), checkRedis, "Redis ", "single server")
	})
	t.Run("ErrUser", func(t *testing.T) {
		r := examineRedisAt(t, linkcache.RedisConfig{Addrs: []string{addr}, Username: "nobody", Password: secret})
		wantProblem(t, r, checkRedis, KindCredentials, "refuses user and password", "Redis.Username")
	})
	t.Run("ErrDB", func(t *testing.T) {
		r := examineRedisAt(t, linkcache.RedisConfig{Addrs: []string{addr}, DB: 65000})
		wantProblem(t, r, checkRedis, KindDatabase, "Redis.DB")
	})
	t.Run("ErrNoCluster", func(t *testing.T) {
		r := examineRedisAt(t, linkcache.RedisConfig{Addrs: []string{addr}, Cluster: true})
		wantProblem(t, r, checkRedis, KindConfig, "is a single server", "Redis.Cluster to false")
	})
	t.Run("ErrNoSentinel", func(t *testing.T) {
		r := examineRedisAt(t, linkcache.RedisConfig{Addrs: []string{addr}, MasterName: "mymaster"})
		wantProblem(t, r, checkRedis, KindMaster, "no Sentinel", "26379")
	})
	t.Run("ErrPermission", func(t *testing.T) {
		name := "doctor-" + rand.Text()
		admin := redis.NewClient(&redis.Options{Addr: addr})
		t.Cleanup(func() { _ = admin.Close() })
		if err := admin.Do(t.Context(), "ACL", "SETUSER", name, "on", ">"+secret, "~linktrail:*", "+get", "+hello", "+client").Err(); err != nil {
			t.Fatal(err)
		}
		defer admin.Do(t.Context(), "ACL", "DELUSER", name)
		r := examineRedisAt(t, linkcache.RedisConfig{Addrs: []string{addr}, Username: name, Password: secret})
		wantProblem(t, r, checkRedis, KindPermission, "'set'", "ACL SETUSER")
	})
}

func TestRedisPassword(t *testing.T) {
	server := miniredis.RunT(t)
	server.RequireAuth(secret)
	addrs := []string{server.Addr()}
	wantProblem(t, examineRedisAt(t, linkcache.RedisConfig{Addrs: addrs}), checkRedis, KindCredentials, "none is given")
	wantProblem(t, examineRedisAt(t, linkcache.RedisConfig{Addrs: addrs, Password: "wrong"}), checkRedis, KindCredentials, "refuses user and password")
	wantOK(t, examineRedisAt(t, linkcache.RedisConfig{Addrs: addrs, Password: secret}), checkRedis)
}

// says is a Redis that answers commands, by their lower-case names, with what is given, others with an error.
func says(answers map[string]string) func(net.Conn) {
	return func(conn net.Conn) {
		r := bufio.NewReader(conn)
		for {
			words, err := command(r)
			if err != nil {
				return
			}
			answer, ok := answers[strings.ToLower(words[0])]
			if !ok {
				answer = "-ERR unknown command '" + words[0] + "'"
			}
			if _, err := io.WriteString(conn, answer+"\r\n"); err != nil {
				return
			}
		}
	}
}

// command reads one, which clients send as an array of strings.
func command(r *bufio.Reader) ([]string, error) {
	number := func() (int, error) {
		line, err := r.ReadString('\n')
		if err != nil || len(line) < 4 {
			return 0, io.ErrUnexpectedEOF
		}
		return strconv.Atoi(strings.TrimSpace(line[1:]))
	}
	n, err := number()
	if err != nil || n < 1 {
		return nil, io.ErrUnexpectedEOF
	}
	words := make([]string, n)
	for i := range words {
		length, err := number()
		if err != nil {
			return nil, err
		}
		word := make([]byte, length+2)
		if _, err := io.ReadFull(r, word); err != nil {
			return nil, err
		}
		words[i] = string(word[:length])
	}
	return words, nil
}

// TestRedisSays plays what the tests' own Redis never says.
func TestRedisSays(t *testing.T) {
	for name, c := range map[string]struct {
		answers map[string]string
		change  func(*linkcache.RedisConfig)
		kind    Kind
		words   []string
	}{
		"ErrReplica": {map[string]string{"get": "$-1", "set": "-READONLY You can't write against a read only replica."}, nil, KindReadOnly,
			[]string{"replica", "MasterName"}},
		"ErrClusterDown": {map[string]string{"get": "-CLUSTERDOWN The cluster is down"}, nil, KindUnavailable, []string{"is down", "--cluster check"}},
		"ErrClusterNode": {map[string]string{"get": "-MOVED 866 10.0.0.9:6379"}, nil, KindConfig, []string{"node of a cluster", "Redis.Cluster to true"}},
		"ErrLoading":     {map[string]string{"get": "-LOADING Redis is loading the dataset in memory"}, nil, KindUnavailable, []string{"loading", "wait"}},
		"ErrMemory":      {map[string]string{"get": "$-1", "set": "-OOM command not allowed when used memory > 'maxmemory'."}, nil, KindUnavailable, []string{"memory"}},
		"ErrNoMaster": {map[string]string{"sentinel": "*-1"}, func(c *linkcache.RedisConfig) { c.MasterName = "mymaster" }, KindMaster,
			[]string{`knows no master "mymaster"`, "SENTINEL masters"}},
		"ErrMasterAway": {map[string]string{"sentinel": "*2\r\n$9\r\n127.0.0.1\r\n$1\r\n1"}, func(c *linkcache.RedisConfig) { c.MasterName = "mymaster" }, KindRefused,
			[]string{"Sentinel says that the master mymaster is at 127.0.0.1:1", "nothing listens"}},
	} {
		t.Run(name, func(t *testing.T) {
			config := linkcache.RedisConfig{Addrs: []string{serve(t, says(c.answers))}}
			if c.change != nil {
				c.change(&config)
			}
			wantProblem(t, examineRedisAt(t, config), checkRedis, c.kind, c.words...)
		})
	}
	t.Run("ErrOneOfSeveral", func(t *testing.T) {
		good := miniredis.RunT(t)
		sentinel := serve(t, says(map[string]string{"sentinel": "*2\r\n$9\r\n127.0.0.1\r\n$" + strconv.Itoa(len(good.Port())) + "\r\n" + good.Port()}))
		r := examineRedisAt(t, linkcache.RedisConfig{Addrs: []string{free(t), sentinel}, MasterName: "mymaster"})
		wantProblem(t, r, checkRedis, KindRefused, "nothing listens")
	})
}
