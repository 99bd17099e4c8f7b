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

	"github.com/google/go-cmp/cmp"

	"github.com/linktrail/linktrail/apps/url-api/internal/door"
	"github.com/linktrail/linktrail/internal/linkcache"
)

func TestRaw(t *testing.T) {
	h := open(t, nil)
	long := "X-Long: " + strings.Repeat("a", 17<<10) + "\r\n"
	for name, tt := range map[string]struct {
		request string
		want    []int
		close   bool // the last answer ends the connection
	}{
		"OK two requests on one connection":                     {"GET /found HTTP/1.1\r\nHost: s\r\n\r\nGET /moved HTTP/1.1\r\nHost: s\r\n\r\n", []int{302, 301}, false},
		"OK pipelined, the last closes":                         {strings.Repeat("GET /found HTTP/1.1\r\nHost: s\r\n\r\n", 9) + "GET /moved HTTP/1.1\r\nHost: s\r\nConnection: close\r\n\r\n", []int{302, 302, 302, 302, 302, 302, 302, 302, 302, 301}, true},
		"OK HTTP/1.0":                                           {"GET /found HTTP/1.0\r\n\r\n", []int{302}, true},
		"OK absolute form":                                      {"GET http://s.example/found HTTP/1.1\r\nHost: s.example\r\n\r\n", []int{302}, false},
		"OK absolute form without a path":                       {"GET http://s.example HTTP/1.1\r\nHost: s.example\r\n\r\n", []int{200}, false},
		"OK a small body is read over, and the connection ends": {"GET /found HTTP/1.1\r\nHost: s\r\nContent-Length: 5\r\n\r\nhelloGET /moved HTTP/1.1\r\nHost: s\r\n\r\n", []int{302}, true},
		"OK headers of almost 16 KiB":                           {"GET /found HTTP/1.1\r\nHost: s\r\nCookie: " + strings.Repeat("a", 15<<10) + "\r\n\r\n", []int{302}, false},
		"Err a large body":                                      {"GET /found HTTP/1.1\r\nHost: s\r\nContent-Length: 1000000\r\n\r\n", []int{413}, true},
		"Err a large body of a POST":                            {"POST /found HTTP/1.1\r\nHost: s\r\nContent-Length: 1000000\r\n\r\n", []int{405}, true},
		"Err a large body in chunks":                            {"GET /found HTTP/1.1\r\nHost: s\r\nTransfer-Encoding: chunked\r\n\r\n2000\r\n" + strings.Repeat("a", 0x2000) + "\r\n0\r\n\r\n", []int{413}, true},
		"Err headers too large":                                 {"GET /found HTTP/1.1\r\nHost: s\r\n" + long + "\r\n", []int{431}, true},
		"Err a path too long":                                   {"GET /" + strings.Repeat("a", 17<<10) + " HTTP/1.1\r\nHost: s\r\n\r\n", []int{431}, true},
		"Err no request line":                                   {"hello\r\n\r\n", []int{400}, true},
		"Err a version of no kind":                              {"GET /found FTP/1.1\r\nHost: s\r\n\r\n", []int{400}, true},
		"Err HTTP/2 without negotiation":                        {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", []int{400}, true},
		"Err TLS on the plain port":                             {"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", []int{400}, true},
		"Err both lengths":                                      {"GET /found HTTP/1.1\r\nHost: s\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /moved HTTP/1.1\r\nHost: s\r\n\r\n", []int{400}, true},
		"Err no host":                                           {"GET /found HTTP/1.1\r\n\r\n", []int{400}, true},
		"Err two lengths":                                       {"GET /found HTTP/1.1\r\nHost: s\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", []int{400}, true},
		"Err a header without a colon":                          {"GET /found HTTP/1.1\r\nHost: s\r\nBroken\r\n\r\n", []int{400}, true},
		"Err a blank before the colon":                          {"GET /found HTTP/1.1\r\nHost: s\r\nTransfer-Encoding : chunked\r\n\r\n", []int{400}, true},
		"OK one good request, then a bad one":                   {"GET /found HTTP/1.1\r\nHost: s\r\n\r\nhello\r\n\r\n", []int{302, 400}, true},
	} {
		t.Run(name, func(t *testing.T) {
			answers := h.raw(tt.request)
			got := make([]int, 0, len(answers))
			for _, a := range answers {
				got = append(got, a.StatusCode)
				h.span(a) // every answer names its span
				if a.Header.Values("Server") != nil || a.Header.Get("Date") == "" {
					t.Errorf("headers %v", a.Header)
				}
				if a.StatusCode >= 400 && a.Header.Get("Content-Type") != "application/problem+json" {
					t.Errorf("%d as %s: %s", a.StatusCode, a.Header.Get("Content-Type"), a.body)
				}
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Fatalf("statuses (-want +got):\n%s", diff)
			}
			if last := answers[len(answers)-1]; last.Close != tt.close {
				t.Errorf("Connection: close is %v, want %v", last.Close, tt.close)
			}
		})
	}
}

func TestSlowRequestEnds(t *testing.T) {
	h := open(t, func(c *door.Config, _ *door.Deps, _ *linkcache.Config) { c.ReadTimeout = 50 * time.Millisecond })
	conn, err := net.Dial("tcp", h.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.WriteString(conn, "GET /found HTTP/1.1\r\nHost: s"); err != nil {
		t.Fatal(err)
	}
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	if res.StatusCode != http.StatusRequestTimeout || !res.Close {
		t.Errorf("%d, Connection: close is %v", res.StatusCode, res.Close)
	}
}

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
