package doctor

import (
	"crypto/tls"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/linktrail/linktrail/internal/clickstream"
	"github.com/linktrail/linktrail/internal/linkcache"
	"github.com/linktrail/linktrail/internal/telemetry"
)

var servers = []string{checkStore, checkRedis, checkKafka, checkOTLP, checkJaeger}

// TestReach tries what can be wrong with an address, for every server.
func TestReach(t *testing.T) {
	silentAddr, nonsenseAddr, hangsUpAddr := serve(t, never), serve(t, nonsense), serve(t, hangsUp)
	for name, c := range map[string]struct {
		addr    string
		timeout time.Duration
		kind    Kind
		words   []string
	}{
		"ErrName":     {"there-is-none.invalid:1234", patience, KindDNS, []string{`"there-is-none.invalid" does not resolve`, "getent hosts"}},
		"ErrRefused":  {free(t), patience, KindRefused, []string{"nothing listens", "start it"}},
		"ErrSilent":   {silentAddr, short, KindTimeout, []string{"accepts connections and does not answer", "--timeout"}},
		"ErrNonsense": {nonsenseAddr, patience, KindProtocol, []string{"correct"}},
	} {
		t.Run(name, func(t *testing.T) {
			r := examine(t, everything(c.addr), c.timeout)
			for _, server := range servers {
				wantProblem(t, r, server, c.kind, c.words...)
				if p := r.Checks[slices.Index(servers, server)].Problems[0]; !strings.Contains(p.Try, "--timeout") && !strings.Contains(p.Try, "--"+server) {
					t.Errorf("%s is not told of its flag, but %q", server, p.Try)
				}
			}
			if len(r.Checks) != len(servers) || r.Failed() != len(servers) {
				t.Errorf("it has %d checks, of which %d failed", len(r.Checks), r.Failed())
			}
		})
	}
	t.Run("ErrHangsUp", func(t *testing.T) {
		r := examine(t, everything(hangsUpAddr), patience)
		for _, server := range []string{checkStore, checkRedis, checkOTLP, checkJaeger} {
			wantProblem(t, r, server, KindProtocol)
		}
		wantProblem(t, r, checkKafka, KindTLS, "it wants TLS, or is not a Kafka", "ClickStream.TLS.Enabled")
	})
}

// secured are the servers that are reached over TLS at once.
func secured(addr, ca string) System {
	s := System{
		Redis:     &linkcache.RedisConfig{Addrs: []string{addr}, PoolSize: 1, TLS: linkcache.RedisTLS{Enabled: true, CAFile: ca}},
		Kafka:     new(clickstream.Config{Brokers: []string{addr}, TLS: clickstream.TLS{Enabled: true, CAFile: ca}}.WithDefaults()),
		Telemetry: &telemetry.Config{Batcher: telemetry.BatcherOTLPGRPC, Endpoint: addr, OtlpGrpcSecure: true, OtlpCaFile: ca},
	}
	return s
}

func TestTLS(t *testing.T) {
	ours, theirs := MustAuthority(t), MustAuthority(t)
	later, before := time.Now().Add(time.Hour), time.Now().Add(-24*time.Hour)
	listen := func(config *tls.Config) string {
		ln, err := tls.Listen("tcp", "127.0.0.1:0", config)
		if err != nil {
			t.Fatal(err)
		}
		return serveOn(t, ln, never)
	}
	good := ours.MustSign(t, "127.0.0.1", later)
	for name, c := range map[string]struct {
		addr    string
		timeout time.Duration
		kind    Kind
		words   []string
	}{
		"ErrUnknownAuthority": {listen(&tls.Config{Certificates: []tls.Certificate{theirs.MustSign(t, "127.0.0.1", later)}}), patience, KindTLS,
			[]string{"not trusted here", "name a PEM file with its authority"}},
		"ErrName": {listen(&tls.Config{Certificates: []tls.Certificate{ours.MustSign(t, "broker.example", later)}}), patience, KindTLS,
			[]string{"for broker.example, not for 127.0.0.1"}},
		"ErrExpired": {listen(&tls.Config{Certificates: []tls.Certificate{ours.MustSign(t, "127.0.0.1", before)}}), patience, KindTLS,
			[]string{"expired at " + before.UTC().Format("2006-01-02")}},
		"ErrClientCertificate": {listen(&tls.Config{Certificates: []tls.Certificate{good}, ClientAuth: tls.RequireAnyClientCert}), patience, KindTLS,
			[]string{"wants a client's certificate", "CertFile"}},
		"ErrPlainServer":  {serve(t, nonsense), patience, KindTLS, []string{"does not speak TLS", "to false"}},
		"ErrPlainHangsUp": {serve(t, hangsUp), patience, KindTLS, []string{"may not speak TLS", "to false"}},
		"ErrPlainSilent":  {serve(t, never), short, KindTimeout, []string{"TLS handshake", "to false"}},
		"ErrSilent":       {listen(&tls.Config{Certificates: []tls.Certificate{good}, NextProtos: []string{"h2"}}), 2 * short, KindTimeout, []string{"does not answer"}},
	} {
		t.Run(name, func(t *testing.T) {
			r := examine(t, secured(c.addr, ours.file), c.timeout)
			for _, server := range []string{checkRedis, checkKafka, checkOTLP} {
				wantProblem(t, r, server, c.kind, c.words...)
			}
		})
	}
	t.Run("ErrNoGRPC", func(t *testing.T) {
		r := examine(t, secured(listen(&tls.Config{Certificates: []tls.Certificate{good}}), ours.file), 2*short)
		wantProblem(t, r, checkOTLP, KindProtocol, "speaks TLS and no gRPC", "4317")
	})
	t.Run("ErrCAFile", func(t *testing.T) {
		r := examine(t, secured(free(t), "/nowhere/ca.pem"), patience)
		for _, server := range []string{checkRedis, checkKafka, checkOTLP} {
			wantProblem(t, r, server, KindFile, "/nowhere/ca.pem")
		}
	})
}
