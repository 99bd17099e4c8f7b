package streamtest

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/linktrail/linktrail/hack/testenv"
	"github.com/linktrail/linktrail/internal/clickstream"
	"github.com/linktrail/linktrail/internal/clickstream/driver"
)

func demonstrateSecure(t *testing.T, v variant) {
	s := newStream(t, variant{driver: clickstream.DriverKgo, secure: true}, 1)
	s.Driver = v.driver
	if broken(Secure, v) {
		wantRefused(t, s.Config, "ClickStream.TLS.Enabled", "Driver kgo")
		s.TLS = clickstream.TLS{}
		wantRefused(t, s.Config, "ClickStream.SASL.Mechanism", s.SASL.Mechanism)
		return
	}
	for _, mechanism := range []string{clickstream.SASLPlain, clickstream.SASLScramSHA256, clickstream.SASLScramSHA512} {
		t.Run(mechanism, func(t *testing.T) {
			secure := newStream(t, variant{driver: clickstream.DriverKgo, secure: true}, 1)
			secure.SASL.Mechanism = mechanism
			carry(t, secure, clickstream.DriverKgo)
		})
	}
	t.Run("PasswordFile", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "password")
		if err := os.WriteFile(file, []byte("wrong\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		s.SASL.PasswordFile, s.SASL.Password = file, ""
		p := s.publisher(t)
		all := s.publish(t, p, 5)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		<-ctx.Done()
		s.wantMetric(t, 0, "linktrail_clicks_published_total")
		if err := os.WriteFile(file, []byte(testenv.Kafka(t).Password+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		MustClose(t, p)
		got := newReceived()
		s.consume(t, patience, got.take)
		got.want(t, all)
	})
	t.Run("other authority", func(t *testing.T) {
		other := *s
		other.SASL = clickstream.SASL{Mechanism: clickstream.SASLPlain, Username: "x", Password: "y"}
		other.TLS.CAFile = "" // the system's authorities do not know the brokers
		p := other.publisher(t)
		other.publish(t, p, 1)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := p.Close(ctx); err == nil {
			t.Error("sent to a broker whose certificate nobody vouches for")
		}
	})
	for key, change := range map[string]func(*clickstream.Config){
		"ClickStream.TLS.CAFile":        func(c *clickstream.Config) { c.TLS.CAFile = "/nowhere" },
		"ClickStream.TLS.CertFile":      func(c *clickstream.Config) { c.TLS.CertFile, c.TLS.KeyFile = "/nowhere", "/nowhere" },
		"ClickStream.SASL.PasswordFile": func(c *clickstream.Config) { c.SASL.PasswordFile, c.SASL.Password = "/nowhere", "" },
	} {
		c := s.Config
		change(&c)
		wantRefused(t, c, key, "/nowhere")
	}
}

// wantRefused asserts that neither end starts, and that the error says why.
func wantRefused(t *testing.T, c clickstream.Config, words ...string) {
	t.Helper()
	_, publisher := driver.Publisher(c, driver.Options{})
	_, consumer := driver.Consumer(c, patience, driver.Options{})
	_, letters := driver.DeadLetters(c)
	for _, err := range []error{publisher, consumer, letters} {
		if err == nil {
			t.Fatalf("no error, want %q", words)
		}
		for _, word := range words {
			if !strings.Contains(err.Error(), word) {
				t.Errorf("%q does not say %q", err, word)
			}
		}
	}
}
