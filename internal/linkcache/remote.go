package linkcache

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/sony/gobreaker/v2"
	"github.com/zeromicro/go-zero/core/logx"

	"github.com/linktrail/linktrail/internal/link"
)

// tombstone is the value of a code that was forgotten a moment ago. While it stands nothing can be cached under the
// code, so that a look-up which read the store before the change cannot write what it read.
const tombstone = "-"

// tombstoneLife must exceed the time between the start of a look-up and its writing to Redis. fill sees to that.
const tombstoneLife = 10 * time.Second

// The breaker opens after so many failures in a row and tries again after a pause.
const (
	breakerFailures = 5
	breakerPause    = time.Second
)

// remote is the level of the cache in Redis. None of its failures reaches a caller.
type remote struct {
	rdb     redis.UniversalClient
	prefix  string
	channel string
	timeout time.Duration
	breaker *gobreaker.CircuitBreaker[string]
	metrics *metrics
}

func newRemote(cfg Config, rdb redis.UniversalClient, m *metrics) *remote {
	r := &remote{
		rdb:     rdb,
		prefix:  cfg.KeyPrefix + "link:",
		channel: cfg.Channel,
		timeout: cfg.RedisTimeout,
		metrics: m,
	}
	r.breaker = gobreaker.NewCircuitBreaker[string](gobreaker.Settings{
		Name:         "redis",
		Timeout:      breakerPause,
		ReadyToTrip:  func(n gobreaker.Counts) bool { return n.ConsecutiveFailures >= breakerFailures },
		IsSuccessful: func(err error) bool { return err == nil || errors.Is(err, redis.Nil) || wrongType(err) },
		OnStateChange: func(_ string, _, to gobreaker.State) {
			m.redisBreakerOpen.Set(open(to))
			switch to {
			case gobreaker.StateOpen:
				m.redisAway.Errorf("redis does not answer: links are looked up in the store")
			case gobreaker.StateClosed:
				logx.Info("redis answers again")
			}
		},
	})
	return r
}

// get returns the link of a code. When it is not found, missing says whether fill may put it there.
func (r *remote) get(ctx context.Context, code string) (l link.Link, found, missing bool) {
	text, err := r.do(ctx, r.timeout, func(ctx context.Context) (string, error) {
		return r.rdb.Get(ctx, r.prefix+code).Result()
	})
	switch {
	case errors.Is(err, redis.Nil):
		return link.Link{}, false, true
	case err == nil && text == tombstone:
		return link.Link{}, false, false
	case err == nil:
		if l, ok := decodeLink(code, text); ok {
			return l, true, false
		}
		r.bury(ctx, code)
	case wrongType(err):
		r.bury(ctx, code)
	}
	return link.Link{}, false, false
}

// bury replaces what is no value of ours. A tombstone is always safe to write, and what follows it is good.
func (r *remote) bury(ctx context.Context, code string) {
	r.metrics.garbage.Inc()
	_, _ = r.do(ctx, r.timeout, func(ctx context.Context) (string, error) {
		return r.rdb.Set(ctx, r.prefix+code, tombstone, tombstoneLife).Result()
	})
}

// fill caches a link that was read from the store by a look-up which began at the given time. It changes nothing when
// there is a value or a tombstone, nor when the look-up took so long that its tombstone may have gone.
func (r *remote) fill(ctx context.Context, l link.Link, ttl time.Duration, began time.Time) {
	if ttl < time.Millisecond || time.Since(began) > tombstoneLife/2 {
		return
	}
	value := encodeLink(l)
	_, _ = r.do(ctx, r.timeout, func(ctx context.Context) (string, error) {
		return r.rdb.SetArgs(ctx, r.prefix+l.Code, value, redis.SetArgs{Mode: "NX", TTL: ttl}).Result()
	})
}

// forget leaves a tombstone and then tells the other replicas, in this order: who asks Redis after the message must
// not find the old value.
func (r *remote) forget(ctx context.Context, code string) error {
	_, err := r.do(ctx, 4*r.timeout, func(ctx context.Context) (string, error) {
		if err := r.rdb.Set(ctx, r.prefix+code, tombstone, tombstoneLife).Err(); err != nil {
			return "", err
		}
		return "", r.rdb.Publish(ctx, r.channel, code).Err()
	})
	return err
}

// do asks Redis within a deadline, unless the breaker is open.
func (r *remote) do(ctx context.Context, timeout time.Duration, ask func(context.Context) (string, error)) (string, error) {
	return r.breaker.Execute(func() (string, error) {
		ctx, cancel := context.WithTimeout(ctx, timeout)
		defer cancel()
		answer, err := ask(ctx)
		if err != nil && !errors.Is(err, redis.Nil) {
			r.metrics.redisErrors.Inc()
		}
		return answer, err
	})
}

// wrongType tells the answer to a key that holds no string: Redis is well, the key is not ours.
func wrongType(err error) bool {
	return err != nil && strings.HasPrefix(err.Error(), "WRONGTYPE")
}

// valueVersion is raised when the meaning of a value changes; values of another version are not read.
const valueVersion = 1

// value is a link as Redis keeps it.
type value struct {
	Version  int    `json:"v"`
	ID       int64  `json:"id"`
	Code     string `json:"c"`
	URL      string `json:"u"`
	Status   int    `json:"s"`
	Disabled bool   `json:"d,omitempty"`
	Created  int64  `json:"t"` // microseconds since 1970
	Updated  int64  `json:"m"`
	Expires  int64  `json:"e,omitempty"`
}

func encodeLink(l link.Link) string {
	v := value{
		Version: valueVersion, ID: l.ID, Code: l.Code, URL: l.URL, Status: l.RedirectStatus, Disabled: l.Disabled,
		Created: l.CreatedAt.UnixMicro(), Updated: l.UpdatedAt.UnixMicro(),
	}
	if !l.ExpiresAt.IsZero() {
		v.Expires = l.ExpiresAt.UnixMicro()
	}
	text, err := json.Marshal(v)
	if err != nil {
		panic(err) // numbers and strings always encode
	}
	return string(text)
}

// decodeLink reads a value, and refuses whatever encodeLink would not have written for the code.
func decodeLink(code, text string) (link.Link, bool) {
	var v value
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		return link.Link{}, false
	}
	if v.Version != valueVersion || v.ID <= 0 || v.Code != code || link.CheckRedirectStatus(v.Status) != nil ||
		!strings.HasPrefix(v.URL, "http://") && !strings.HasPrefix(v.URL, "https://") {
		return link.Link{}, false
	}
	l := link.Link{
		ID: v.ID, Code: v.Code, URL: v.URL, RedirectStatus: v.Status, Disabled: v.Disabled,
		CreatedAt: time.UnixMicro(v.Created).UTC(), UpdatedAt: time.UnixMicro(v.Updated).UTC(),
	}
	if v.Expires != 0 {
		l.ExpiresAt = time.UnixMicro(v.Expires).UTC()
	}
	return l, true
}
