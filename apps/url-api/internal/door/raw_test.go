package door_test

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/linktrail/linktrail/apps/url-api/internal/door"
	"github.com/linktrail/linktrail/internal/linkcache"
)

func TestShutdown(t *testing.T) {
	t.Run("OK what is in flight is answered, and told that the connection ends", func(t *testing.T) {
		h := open(t, func(_ *door.Config, _ *door.Deps, cache *linkcache.Config) { cache.StoreTimeout = time.Minute })
		gate := make(chan struct{})
		h.store.set(func(s *store) { s.gate = gate })
		idle, err := net.Dial("tcp", h.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = idle.Close() }()
		if _, err := io.WriteString(idle, "GET /robots.txt HTTP/1.1\r\nHost: s\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		idleIn := bufio.NewReader(idle)
		res, err := http.ReadResponse(idleIn, nil)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, res.Body)
		_ = res.Body.Close()

		inFlight := make(chan answer, 1)
		go func() { inFlight <- h.ask("GET", "/found") }()
		eventually(t, "the request is with the store", func() bool { return h.store.reads.Load() == 1 })
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		stopped := make(chan error, 1)
		go func() { stopped <- h.door.Shutdown(ctx) }()

		eventually(t, "no further connection is accepted", func() bool {
			conn, err := net.Dial("tcp", h.addr)
			if err == nil {
				_ = conn.Close()
			}
			return err != nil
		})
		_ = idle.SetReadDeadline(time.Now().Add(20 * time.Second))
		if _, err := idleIn.ReadByte(); err != io.EOF {
			t.Errorf("an idle connection: %v, want its end", err)
		}
		select {
		case err := <-stopped:
			t.Fatalf("Shutdown returned %v before the request was answered", err)
		default:
		}
		close(gate)
		if a := <-inFlight; a.StatusCode != http.StatusFound || !a.Close {
			t.Errorf("in flight: %d, Connection: close is %v", a.StatusCode, a.Close)
		}
		if err := <-stopped; err != nil {
			t.Errorf("Shutdown: %v", err)
		}
		if n := len(h.clicks.all()); n != 1 {
			t.Errorf("%d clicks, want 1", n)
		}
	})

	t.Run("Err its context ends first", func(t *testing.T) {
		h := open(t, func(_ *door.Config, _ *door.Deps, cache *linkcache.Config) { cache.StoreTimeout = time.Minute })
		gate := make(chan struct{})
		h.store.set(func(s *store) { s.gate = gate })
		inFlight := make(chan answer, 1)
		go func() { inFlight <- h.ask("GET", "/found") }()
		eventually(t, "the request is with the store", func() bool { return h.store.reads.Load() == 1 })
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer cancel()
		if err := h.door.Shutdown(ctx); err == nil || !strings.Contains(err.Error(), "still open") {
			t.Errorf("Shutdown: %v", err)
		}
		close(gate)
		<-inFlight
	})

	t.Run("OK before it serves", func(t *testing.T) {
		d, err := door.New(door.Config{}, door.Deps{})
		if err != nil {
			t.Fatal(err)
		}
		if err := d.Shutdown(t.Context()); err != nil {
			t.Fatal(err)
		}
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		if err := d.Serve(ln); err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
}

func TestTLS(t *testing.T) {
	dir := t.TempDir()
	files := door.TLS{CertFile: filepath.Join(dir, "tls.crt"), KeyFile: filepath.Join(dir, "tls.key")}
	root := writeCertificate(t, files)
	h := open(t, func(c *door.Config, _ *door.Deps, _ *linkcache.Config) { c.TLS = files })
	conn, err := tls.Dial("tcp", h.addr, &tls.Config{RootCAs: root, ServerName: "localhost", NextProtos: []string{"h2", "http/1.1"}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if _, err := fmt.Fprint(conn, "GET /found HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	if res.StatusCode != http.StatusFound {
		t.Errorf("%d", res.StatusCode)
	}
	if got := attributes(h.span(answer{Response: res}))["url.scheme"]; got != "https" {
		t.Errorf("url.scheme is %v", got)
	}
	if _, err := door.New(door.Config{TLS: door.TLS{CertFile: "/nowhere", KeyFile: "/nowhere"}}, door.Deps{}); err == nil {
		t.Error("files that are not there were taken")
	}
}

// writeCertificate makes a certificate for localhost and returns the pool that trusts it.
func writeCertificate(t *testing.T, files door.TLS) *x509.CertPool {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), DNSNames: []string{"localhost"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	cert := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	if err := os.WriteFile(files.CertFile, cert, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(files.KeyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}), 0o600); err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(cert)
	return pool
}
