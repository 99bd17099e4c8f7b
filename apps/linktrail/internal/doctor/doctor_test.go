package doctor

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/linktrail/linktrail/internal/clickstream"
	"github.com/linktrail/linktrail/internal/linkcache"
	"github.com/linktrail/linktrail/internal/store"
	"github.com/linktrail/linktrail/internal/telemetry"
)

// secret is in every address that a test makes; no report may have it.
const secret = "s3cr3t-w0rd"

// patience is the timeout of checks that must come to an answer; short is that of those that must not.
const (
	patience = time.Minute
	short    = 500 * time.Millisecond
)

func examine(t *testing.T, s System, timeout time.Duration) Report {
	t.Helper()
	r := s.Plan().Run(t.Context(), timeout)
	content, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(content), secret) {
		t.Errorf("the report shows a secret: %s", content)
	}
	return r
}

// wantOK wants a check to find nothing wrong, and to say so in these words.
func wantOK(t *testing.T, r Report, name string, words ...string) {
	t.Helper()
	f := find(t, r, name)
	if f.Status != OK || len(f.Problems) > 0 {
		t.Fatalf("%s is %s: %+v", name, f.Status, f.Problems)
	}
	for _, word := range words {
		if !strings.Contains(f.Detail, word) {
			t.Errorf("%q does not say %q", f.Detail, word)
		}
	}
}

// wantProblem wants a check to find one thing wrong, or several alike, with what to do about it.
func wantProblem(t *testing.T, r Report, name string, kind Kind, words ...string) {
	t.Helper()
	f := find(t, r, name)
	if f.Status != Failed || len(f.Problems) == 0 || r.OK {
		t.Fatalf("%s is %s (%s)", name, f.Status, f.Detail)
	}
	all := ""
	for _, p := range f.Problems {
		if p.Kind != kind {
			t.Errorf("%s: kind %q, want %q: %s", name, p.Kind, kind, p.Detail)
		}
		if p.Try == "" {
			t.Errorf("%s: %s: it does not say what to do", name, p.Detail)
		}
		all += p.Detail + "\n" + p.Try + "\n"
	}
	for _, word := range words {
		if !strings.Contains(all, word) {
			t.Errorf("%s does not say %q:\n%s", name, word, all)
		}
	}
}

func find(t *testing.T, r Report, name string) Finding {
	t.Helper()
	for _, f := range r.Checks {
		if f.Check == name {
			return f
		}
	}
	t.Fatalf("the report has no %s: %+v", name, r.Checks)
	return Finding{}
}

// everything names one address for all servers, with a password wherever one can be.
func everything(addr string) System {
	return System{
		Store:     &store.Config{DSN: "postgres://linktrail:" + secret + "@" + addr + "/linktrail"},
		Redis:     &linkcache.RedisConfig{Addrs: []string{addr}, Username: "linktrail", Password: secret, PoolSize: 1},
		Kafka:     new(clickstream.Config{Brokers: []string{addr}}.WithDefaults()),
		Telemetry: &telemetry.Config{Batcher: telemetry.BatcherOTLPGRPC, Endpoint: addr, OtlpHeaders: map[string]string{"authorization": secret}},
		Jaeger:    new("http://linktrail:" + secret + "@" + addr),
	}
}

// serve answers every connection with a function, until the test ends.
func serve(t *testing.T, answer func(net.Conn)) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return serveOn(t, ln, answer)
}

func serveOn(t *testing.T, ln net.Listener, answer func(net.Conn)) string {
	t.Helper()
	var (
		mu      sync.Mutex
		open    []net.Conn
		ended   bool
		serving sync.WaitGroup
	)
	serving.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			open = append(open, conn)
			if ended {
				_ = conn.Close()
			}
			mu.Unlock()
			serving.Go(func() {
				defer func() { _ = conn.Close() }()
				answer(conn)
			})
		}
	})
	t.Cleanup(func() {
		_ = ln.Close()
		mu.Lock()
		ended = true
		for _, conn := range open {
			_ = conn.Close()
		}
		mu.Unlock()
		serving.Wait()
	})
	return ln.Addr().String()
}

// never reads and does not answer.
func never(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) }

// nonsense answers the first bytes with what no protocol has.
func nonsense(conn net.Conn) {
	if n, _ := conn.Read(make([]byte, 1024)); n > 0 {
		_, _ = conn.Write([]byte("WELCOME to something else entirely, please log in\r\n"))
		_, _ = io.Copy(io.Discard, conn)
	}
}

// hangsUp ends the connection at the first bytes.
func hangsUp(conn net.Conn) { _, _ = conn.Read(make([]byte, 1024)) }

// free is an address where nothing listens.
func free(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	return ln.Addr().String()
}

// authority signs certificates.
type authority struct {
	file        string
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

func MustAuthority(t *testing.T) authority {
	t.Helper()
	key := MustKey(t)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "doctor's tests"}, NotBefore: time.Now().Add(-48 * time.Hour),
		NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "ca.pem")
	MustWrite(t, file, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	return authority{file, certificate, key}
}

// MustSign makes a server's certificate for a name, valid until a time.
func (a authority) MustSign(t *testing.T, name string, until time.Time) tls.Certificate {
	t.Helper()
	key := MustKey(t)
	template := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name}, NotBefore: a.certificate.NotBefore, NotAfter: until,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	if ip := net.ParseIP(name); ip != nil {
		template.IPAddresses = []net.IP{ip}
	} else {
		template.DNSNames = []string{name}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.certificate, key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func MustKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func MustWrite(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
