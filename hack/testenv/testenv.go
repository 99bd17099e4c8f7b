// Package testenv gives tests the real servers they run against, PostgreSQL, Redis, Kafka and Jaeger, and patience with them.
//
// The servers are started once, outside the test binaries, by `make test` or `make testenv` (package server does the
// work); here their addresses are read from environment variables. A developer may set those variables himself, to
// servers of his own. A server that is not there fails the test: nothing is skipped.
package testenv

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"net"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// The environment variables which carry the servers' addresses.
const (
	EnvPostgres       = "LINKTRAIL_TEST_POSTGRES"         // DSN of a user who may create databases
	EnvRedis          = "LINKTRAIL_TEST_REDIS"            // host:port
	EnvKafka          = "LINKTRAIL_TEST_KAFKA"            // host:port of the plaintext listener, comma-separated
	EnvKafkaTLS       = "LINKTRAIL_TEST_KAFKA_TLS"        // host:port of the SASL_SSL listener, comma-separated
	EnvKafkaCA        = "LINKTRAIL_TEST_KAFKA_CA"         // PEM file with the authority that signed the brokers' certificates
	EnvKafkaUsername  = "LINKTRAIL_TEST_KAFKA_USERNAME"   // SASL user
	EnvKafkaPassword  = "LINKTRAIL_TEST_KAFKA_PASSWORD"   // the user's password
	EnvJaegerOTLPGRPC = "LINKTRAIL_TEST_JAEGER_OTLP_GRPC" // host:port
	EnvJaegerOTLPHTTP = "LINKTRAIL_TEST_JAEGER_OTLP_HTTP" // host:port
	EnvJaegerQuery    = "LINKTRAIL_TEST_JAEGER_QUERY"     // http://host:port
)

// KafkaServer is one Kafka cluster with two ways in.
type KafkaServer struct {
	// Brokers are the seed brokers of the plaintext listener, host:port.
	Brokers []string
	// TLSBrokers are the seed brokers of the SASL_SSL listener, host:port. The mechanisms are SCRAM-SHA-512,
	// SCRAM-SHA-256 and PLAIN; the certificate is signed by the authority in CAFile and names 127.0.0.1 and localhost.
	TLSBrokers []string
	CAFile     string
	Username   string
	Password   string
}

// JaegerServer is one Jaeger, which keeps every span it is sent in memory.
type JaegerServer struct {
	OTLPGRPC string // host:port
	OTLPHTTP string // host:port, path /v1/traces
	Query    string // http://host:port, the API is under /api
}

// Postgres returns the DSN of a new empty database, which is dropped, whoever is still connected, when the test ends.
func Postgres(t testing.TB) string {
	t.Helper()
	admin := lookup(t, EnvPostgres)
	var random [6]byte
	_, _ = rand.Read(random[:]) // never fails
	name := "linktrail_test_" + hex.EncodeToString(random[:])

	execute(t, admin, "CREATE DATABASE "+name)
	t.Cleanup(func() { execute(t, admin, "DROP DATABASE IF EXISTS "+name+" WITH (FORCE)") })
	return withDatabase(t, admin, name)
}

// Redis returns the host:port of a Redis which all tests share: each uses a key prefix and channel names of its own.
func Redis(t testing.TB) string {
	t.Helper()
	return lookup(t, EnvRedis)
}

// Kafka returns a Kafka which all tests share: each uses topics and groups of its own. Topics are not made by use.
func Kafka(t testing.TB) KafkaServer {
	t.Helper()
	return KafkaServer{
		Brokers:    strings.Split(lookup(t, EnvKafka), ","),
		TLSBrokers: strings.Split(lookup(t, EnvKafkaTLS), ","),
		CAFile:     lookup(t, EnvKafkaCA),
		Username:   lookup(t, EnvKafkaUsername),
		Password:   lookup(t, EnvKafkaPassword),
	}
}

// Jaeger returns a Jaeger which all tests share: each looks for trace ids of its own.
func Jaeger(t testing.TB) JaegerServer {
	t.Helper()
	return JaegerServer{
		OTLPGRPC: lookup(t, EnvJaegerOTLPGRPC),
		OTLPHTTP: lookup(t, EnvJaegerOTLPHTTP),
		Query:    lookup(t, EnvJaegerQuery),
	}
}

// FreeAddr returns a loopback address which was free a moment ago, for a server that the test itself starts and that
// cannot choose a port.
func FreeAddr(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

func lookup(t testing.TB, variable string) string {
	t.Helper()
	value := os.Getenv(variable)
	if value == "" {
		t.Fatalf("%s is not set: this test needs a real server.\n"+
			"  all tests:  make test\n"+
			"  this one:   make testenv   (in another terminal), then\n"+
			"              eval \"$(go run ./hack/testenv/cmd env)\"", variable)
	}
	return value
}

func execute(t testing.TB, dsn, statement string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		t.Fatalf("postgres at %s: %v", EnvPostgres, err)
	}
	defer func() { _ = conn.Close(ctx) }()
	if _, err := conn.Exec(ctx, statement); err != nil {
		t.Fatalf("postgres: %s: %v", statement, err)
	}
}

// withDatabase returns dsn, which is a URL or a list of key=value, with another database name.
func withDatabase(t testing.TB, dsn, name string) string {
	t.Helper()
	if !strings.HasPrefix(dsn, "postgres://") && !strings.HasPrefix(dsn, "postgresql://") {
		return dsn + " dbname=" + name // the last one counts
	}
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatalf("%s is not a DSN: %v", EnvPostgres, err)
	}
	u.Path = "/" + name
	return u.String()
}
