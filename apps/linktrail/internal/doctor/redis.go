package doctor

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/linktrail/linktrail/internal/linkcache"
)

var redisKeys = keys{address: "Redis.Addrs", enable: "Redis.TLS.Enabled", ca: "Redis.TLS.CAFile", cert: "Redis.TLS.CertFile and KeyFile",
	name: "Redis.TLS.ServerName"}

// keyLife is how long the key stays that tells whether Redis can be written.
const keyLife = time.Second

func redisCheck(c cache, _ []Service) check {
	return check{target: strings.Join(c.Server.Addrs, ", "), run: func(ctx context.Context) (string, []Problem) {
		return examineRedis(ctx, c)
	}}
}

func examineRedis(ctx context.Context, c cache) (string, []Problem) {
	config, wrong := security{
		enabled: c.Server.TLS.Enabled, caFile: c.Server.TLS.CAFile, certFile: c.Server.TLS.CertFile, keyFile: c.Server.TLS.KeyFile,
		serverName: c.Server.TLS.ServerName,
	}.config(redisKeys)
	if wrong != nil {
		return "", []Problem{*wrong}
	}
	var problems []Problem
	for _, addr := range c.Server.Addrs {
		if p := dial(ctx, addr, config, redisKeys); p != nil {
			problems = append(problems, *p)
		}
	}
	if len(problems) == len(c.Server.Addrs) {
		return "", problems
	}
	where := "single server"
	switch {
	case c.Server.MasterName != "":
		master, found := askSentinels(ctx, c.Server, func(o *redis.Options) { o.TLSConfig = config })
		if len(found) > 0 {
			return "", append(problems, found...)
		}
		if p := dial(ctx, master, config, redisKeys); p != nil {
			p.Detail = fmt.Sprintf("Sentinel says that the master %s is at %s; %s", c.Server.MasterName, master, p.Detail)
			return "", append(problems, *p)
		}
		where = "master at " + master
	case c.Server.Cluster || len(c.Server.Addrs) > 1:
		where = "cluster"
	}
	version, found := useRedis(ctx, c)
	return fmt.Sprintf("%s, %s", version, where), append(problems, found...)
}

// askSentinels returns the master's address as the first Sentinel that knows it tells it.
func askSentinels(ctx context.Context, c linkcache.RedisConfig, secure func(*redis.Options)) (string, []Problem) {
	var problems []Problem
	for _, addr := range c.Addrs {
		o := &redis.Options{Addr: addr, Username: c.SentinelUsername, Password: c.SentinelPassword, ContextTimeoutEnabled: true,
			DisableIdentity: true, MaxRetries: -1, DialerRetries: 1}
		secure(o)
		sentinel := redis.NewSentinelClient(o)
		found, err := sentinel.GetMasterAddrByName(ctx, c.MasterName).Result()
		_ = sentinel.Close()
		switch {
		case err == nil && len(found) == 2:
			return net.JoinHostPort(found[0], found[1]), nil
		case errors.Is(err, redis.Nil):
			problems = append(problems, problem(KindMaster, fmt.Sprintf("correct Redis.MasterName; redis-cli -h HOST -p PORT SENTINEL masters, at %s, tells the names", addr),
				"the Sentinel at %s knows no master %q", addr, c.MasterName))
		case err == nil, strings.HasPrefix(err.Error(), "ERR unknown command"):
			problems = append(problems, problem(KindMaster, "name the Sentinels in Redis.Addrs (port 26379), or leave Redis.MasterName out", "%s is a Redis and no Sentinel", addr))
		default:
			problems = append(problems, redisFault(ctx, err, addr, "Redis.SentinelUsername and SentinelPassword"))
		}
	}
	return "", problems
}

// useRedis does what url-api does with its cache: reads, writes, and follows the channel.
func useRedis(ctx context.Context, c cache) (version string, problems []Problem) {
	c.Server.PoolSize = 2
	rdb, err := linkcache.OpenRedis(c.Server)
	if err != nil {
		return "", []Problem{problem(KindConfig, "correct the Redis block", "%s", oneLine(err))}
	}
	defer func() { _ = rdb.Close() }()
	addr := strings.Join(c.Server.Addrs, ", ")
	fault := func(err error) []Problem {
		return []Problem{redisFault(ctx, err, addr, "Redis.Username and Password (or PasswordFile)")}
	}
	prefix, channel := c.Keys.KeyPrefix, c.Keys.Channel
	if prefix == "" {
		prefix = "linktrail:"
	}
	if channel == "" {
		channel = "linktrail:forget"
	}
	key := prefix + "link:doctor-" + rand.Text()
	if err := rdb.Get(ctx, key).Err(); err != nil && !errors.Is(err, redis.Nil) {
		return "", fault(err)
	}
	if err := rdb.SetArgs(ctx, key, "", redis.SetArgs{Mode: "NX", TTL: keyLife}).Err(); err != nil && !errors.Is(err, redis.Nil) {
		return "", fault(err)
	}
	sub := rdb.Subscribe(ctx, channel)
	defer func() { _ = sub.Close() }()
	if _, err := sub.Receive(ctx); err != nil {
		return "", fault(err)
	}
	return redisVersion(ctx, rdb), nil
}

// redisVersion is the product and its version; who may not ask for them learns less.
func redisVersion(ctx context.Context, rdb redis.UniversalClient) string {
	text, err := rdb.Info(ctx, "server").Result()
	if err == nil {
		for line := range strings.SplitSeq(text, "\n") {
			if name, version, ok := strings.Cut(strings.TrimSpace(line), ":"); ok && name == "redis_version" {
				return "Redis " + version
			}
		}
	}
	return "Redis"
}

// redisFault says what a command's error means; who names the settings that tell who we are.
func redisFault(ctx context.Context, err error, addr, who string) Problem {
	text := err.Error()
	has := func(words ...string) bool {
		for _, word := range words {
			if strings.Contains(text, word) {
				return true
			}
		}
		return false
	}
	switch {
	case has("WRONGPASS", "invalid password", "invalid username-password"):
		return problem(KindCredentials, "correct "+who, "%s refuses user and password", addr)
	case has("without any password configured"):
		return problem(KindCredentials, "leave the password out, or set requirepass at the server", "%s has no password, and one is given", addr)
	case has("NOAUTH"):
		return problem(KindCredentials, "set "+who, "%s asks for a password and none is given", addr)
	case has("NOPERM"):
		return problem(KindPermission, "as its administrator: ACL SETUSER USER ~linktrail:* &linktrail:* +get +set +publish +subscribe +ping, with Redis.Username for USER",
			"our user may not do what is needed: %s", shorten(text))
	case has("READONLY"):
		return problem(KindReadOnly, "name the master in Redis.Addrs, or the Sentinels with Redis.MasterName", "%s is a replica that takes no writes", addr)
	case has("CLUSTERDOWN"):
		return problem(KindUnavailable, "redis-cli --cluster check HOST:PORT, with a node of it", "the cluster at %s is down: %s", addr, shorten(text))
	case has("MOVED ", "ASK "):
		return problem(KindConfig, "set Redis.Cluster to true", "%s is a node of a cluster and is used as a single server", addr)
	case has("cluster support disabled"):
		return problem(KindConfig, "set Redis.Cluster to false, and name one address", "%s is a single server and is used as a cluster", addr)
	case has("MASTERDOWN", "LOADING", "MISCONF", "OOM ", "TRYAGAIN"):
		return problem(KindUnavailable, "wait, or look at the server's log and memory", "%s answers that it cannot serve: %s", addr, shorten(text))
	case has("DB index is out of range", "invalid DB index"):
		return problem(KindDatabase, "lower Redis.DB, or raise the server's `databases`", "%s has no database of the number in Redis.DB", addr)
	case has("redis: invalid reply", "redis: can't parse", "unexpected"):
		return problem(KindProtocol, "correct Redis.Addrs", "%s is not a Redis: %s", addr, shorten(text))
	}
	if closed(err) {
		return problem(KindProtocol, "set Redis.TLS.Enabled to true if it wants TLS; correct Redis.Addrs if it is no Redis", "%s ends the connection instead of answering", addr)
	}
	if p, ok := networkFault(err, addr, redisKeys); ok && p.Kind != KindTimeout {
		return p
	}
	if timedOut(err) || ctx.Err() != nil || has("timeout") {
		return silent(addr, redisKeys)
	}
	return problem(KindOther, "look at the server's log", "%s: %s", addr, shorten(text))
}
