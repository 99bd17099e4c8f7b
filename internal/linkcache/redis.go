package linkcache

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/redis/go-redis/extra/redisotel/v9"
	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
	"go.opentelemetry.io/otel"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"
)

// RedisConfig is the Redis block of a service's YAML. Without Addrs there is no Redis. One address is a single server,
// several are the seeds of a cluster; with MasterName they are Sentinels.
type RedisConfig struct {
	Addrs []string `json:",optional"`
	// Cluster says that a single address is a cluster's.
	Cluster bool `json:",optional"`
	// MasterName is the name that Sentinels know the master by.
	MasterName string `json:",optional"`
	// Username and Password are who we are to the servers; SentinelUsername and SentinelPassword, to the Sentinels.
	Username         string `json:",optional"`
	Password         string `json:",optional"`
	SentinelUsername string `json:",optional"`
	SentinelPassword string `json:",optional"`
	// PasswordFile is a file with the password, read at every connection, for Secrets that change.
	PasswordFile string `json:",optional"`
	// DB is the database's number; a cluster has only 0.
	DB int `json:",optional,range=[0:65535]"`
	// PoolSize is the most connections to one server.
	PoolSize int      `json:",default=32,range=[1:10000]"`
	TLS      RedisTLS `json:",optional"`
}

// RedisTLS is how Redis is reached over TLS.
type RedisTLS struct {
	Enabled bool `json:",optional"`
	// CAFile is a PEM file with the authorities to trust in place of the system's.
	CAFile string `json:",optional"`
	// CertFile and KeyFile are the client's own certificate, for mutual TLS.
	CertFile string `json:",optional"`
	KeyFile  string `json:",optional"`
	// ServerName is the name to verify in place of the server's host.
	ServerName string `json:",optional"`
}

// A RedisOption changes how a client is made.
type RedisOption func(*redisOptions)

type redisOptions struct{ provider trace.TracerProvider }

// WithTracerProvider makes the client's spans with a provider in place of the global one.
func WithTracerProvider(p trace.TracerProvider) RedisOption {
	return func(o *redisOptions) { o.provider = p }
}

// OpenRedis returns a client, or nil when no address is configured. It does not connect: a Redis that is away is not an
// error, a configuration that cannot work is. The client makes a span for each command, without its arguments, since
// these hold codes and targets.
func OpenRedis(cfg RedisConfig, opts ...RedisOption) (redis.UniversalClient, error) {
	if len(cfg.Addrs) == 0 {
		return nil, nil
	}
	universal, err := cfg.options()
	if err != nil {
		return nil, err
	}
	o := redisOptions{provider: otel.GetTracerProvider()}
	for _, opt := range opts {
		opt(&o)
	}
	rdb := redis.NewUniversalClient(universal)
	err = redisotel.InstrumentTracing(rdb,
		redisotel.WithTracerProvider(o.provider),
		redisotel.WithDBStatement(false),
		redisotel.WithCallerEnabled(false),
		redisotel.WithDialFilter(true),
		redisotel.WithAttributes(semconv.DBSystemNameRedis),
		redisotel.WithCommandFilter(func(cmd redis.Cmder) bool { return !traced(cmd) }),
		redisotel.WithCommandsFilter(func([]redis.Cmder) bool { return true }),
	)
	if err != nil {
		_ = rdb.Close()
		return nil, fmt.Errorf("Redis: %w", err)
	}
	return rdb, nil
}

// traced tells the commands of look-ups and invalidations; the rest is the client's own housekeeping.
func traced(cmd redis.Cmder) bool {
	switch strings.ToLower(cmd.Name()) {
	case "get", "set", "publish":
		return true
	default:
		return false
	}
}

// Validate reports the first wrong value: its key, the value and what is allowed. It opens no file.
func (cfg RedisConfig) Validate() error {
	if cfg.MasterName != "" && cfg.Cluster {
		return fmt.Errorf("Redis.Cluster: true cannot be combined with Redis.MasterName %q: choose cluster or Sentinel",
			cfg.MasterName)
	}
	if cluster := cfg.Cluster || cfg.MasterName == "" && len(cfg.Addrs) > 1; cluster && cfg.DB != 0 {
		return fmt.Errorf("Redis.DB: %d is not allowed with a cluster, which has only database 0", cfg.DB)
	}
	if cfg.Password != "" && cfg.PasswordFile != "" {
		return fmt.Errorf("Redis.PasswordFile: %q cannot be combined with Redis.Password: set one of them",
			cfg.PasswordFile)
	}
	if (cfg.TLS.CertFile == "") != (cfg.TLS.KeyFile == "") {
		return fmt.Errorf("Redis.TLS.CertFile and Redis.TLS.KeyFile: set both or none")
	}
	return nil
}

func (cfg RedisConfig) options() (*redis.UniversalOptions, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	o := &redis.UniversalOptions{
		Addrs:            cfg.Addrs,
		IsClusterMode:    cfg.Cluster,
		MasterName:       cfg.MasterName,
		Username:         cfg.Username,
		Password:         cfg.Password,
		SentinelUsername: cfg.SentinelUsername,
		SentinelPassword: cfg.SentinelPassword,
		DB:               cfg.DB,
		PoolSize:         cfg.PoolSize,
		// A look-up has 50 ms: its deadline counts, and one new try must do.
		ContextTimeoutEnabled: true,
		DialTimeout:           time.Second,
		DialerRetries:         1,
		MaxRetries:            1,
		MinRetryBackoff:       time.Millisecond,
		MaxRetryBackoff:       5 * time.Millisecond,
		// Connections are made while somebody waits; leave out what we have no use for.
		DisableIdentity:          true,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	}
	if cfg.PasswordFile != "" {
		if _, err := readPassword(cfg.PasswordFile); err != nil {
			return nil, err
		}
		o.CredentialsProviderContext = func(context.Context) (string, string, error) {
			password, err := readPassword(cfg.PasswordFile)
			return cfg.Username, password, err
		}
	}
	if cfg.TLS.Enabled {
		var err error
		if o.TLSConfig, err = cfg.TLS.config(); err != nil {
			return nil, err
		}
	}
	return o, nil
}

func readPassword(file string) (string, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("Redis.PasswordFile: %w", err)
	}
	return strings.TrimRight(string(text), "\r\n"), nil
}

func (t RedisTLS) config() (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: t.ServerName}
	if t.CAFile != "" {
		pem, err := os.ReadFile(t.CAFile)
		if err != nil {
			return nil, fmt.Errorf("Redis.TLS.CAFile: %w", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("Redis.TLS.CAFile: %q has no PEM certificate", t.CAFile)
		}
	}
	if t.CertFile != "" {
		pair, err := tls.LoadX509KeyPair(t.CertFile, t.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("Redis.TLS.CertFile: %w", err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c, nil
}
