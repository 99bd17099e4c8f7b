package clickstream_test

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/zeromicro/go-zero/core/conf"

	"github.com/linktrail/linktrail/internal/clickstream"
)

func TestConfig(t *testing.T) {
	t.Run("OKDefaults", func(t *testing.T) {
		var read clickstream.Config
		if err := conf.LoadFromYamlBytes([]byte("Brokers: [localhost:9092]"), &read); err != nil {
			t.Fatal(err)
		}
		if err := read.Validate(); err != nil {
			t.Fatal(err)
		}
		made := clickstream.Config{Brokers: []string{"localhost:9092"}, LingerMillis: read.LingerMillis, BatchMillis: read.BatchMillis}.WithDefaults()
		if !reflect.DeepEqual(read, made) {
			t.Errorf("YAML's defaults are %+v, WithDefaults' %+v", read, made)
		}
	})
	for name, tt := range map[string]struct {
		change func(*clickstream.Config)
		want   string
	}{
		"Driver":       {func(c *clickstream.Config) { c.Driver = "sarama" }, `ClickStream.Driver: "sarama" is not allowed; allowed is kgo or kq`},
		"NoBrokers":    {func(c *clickstream.Config) { c.Brokers = nil }, "ClickStream.Brokers: "},
		"BrokerPort":   {func(c *clickstream.Config) { c.Brokers = []string{"a:9092", "b"} }, `ClickStream.Brokers: "b" is not allowed; allowed is a list of host:port`},
		"BrokerURL":    {func(c *clickstream.Config) { c.Brokers = []string{"http://b:1"} }, "ClickStream.Brokers: "},
		"Topic":        {func(c *clickstream.Config) { c.Topic = "click events" }, `ClickStream.Topic: "click events"`},
		"TopicLong":    {func(c *clickstream.Config) { c.Topic = strings.Repeat("x", 246) }, "ClickStream.Topic: "},
		"TopicDots":    {func(c *clickstream.Config) { c.Topic = ".." }, "ClickStream.Topic: "},
		"Queue":        {func(c *clickstream.Config) { c.Queue = -1 }, `ClickStream.Queue: "-1" is not allowed; allowed is a number from 1 to 16777216`},
		"Linger":       {func(c *clickstream.Config) { c.LingerMillis = 5000 }, `ClickStream.LingerMillis: "5000"`},
		"Session":      {func(c *clickstream.Config) { c.SessionTimeout = 2 * time.Hour }, "ClickStream.SessionTimeout: "},
		"MaxBatch":     {func(c *clickstream.Config) { c.MaxBatch = 1 << 20 }, "ClickStream.MaxBatch: "},
		"BatchBytes":   {func(c *clickstream.Config) { c.MaxBatchBytes = 1000 }, `ClickStream.MaxBatchBytes: "1000" is not allowed; allowed is a number from 1024 to 268435456`},
		"BatchMillis":  {func(c *clickstream.Config) { c.BatchMillis = -1 }, "ClickStream.BatchMillis: "},
		"Conns":        {func(c *clickstream.Config) { c.Conns = 2000 }, "ClickStream.Conns: "},
		"CAWithoutTLS": {func(c *clickstream.Config) { c.TLS.CAFile = "/ca" }, `ClickStream.TLS.CAFile: "/ca" is not allowed; allowed is nothing unless TLS.Enabled is true`},
		"NoKey":        {func(c *clickstream.Config) { c.TLS = clickstream.TLS{Enabled: true, CertFile: "/c"} }, "ClickStream.TLS.KeyFile: "},
		"NoCert":       {func(c *clickstream.Config) { c.TLS = clickstream.TLS{Enabled: true, KeyFile: "/c"} }, "ClickStream.TLS.CertFile: "},
		"Mechanism":    {func(c *clickstream.Config) { c.SASL.Mechanism = "GSSAPI" }, `ClickStream.SASL.Mechanism: "GSSAPI" is not allowed; allowed is PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512`},
		"NoMechanism":  {func(c *clickstream.Config) { c.SASL.Password = "secret" }, "ClickStream.SASL.Mechanism: "},
		"NoUser":       {func(c *clickstream.Config) { c.SASL.Mechanism = "PLAIN" }, "ClickStream.SASL.Username: "},
		"UserAlone":    {func(c *clickstream.Config) { c.SASL.Username = "u" }, "ClickStream.SASL.Username: "},
		"NoPassword": {func(c *clickstream.Config) { c.SASL = clickstream.SASL{Mechanism: "PLAIN", Username: "u"} },
			"ClickStream.SASL.PasswordFile: "},
		"TwoPasswords": {func(c *clickstream.Config) {
			c.SASL = clickstream.SASL{Mechanism: "PLAIN", Username: "u", Password: "secret", PasswordFile: "/p"}
		}, "ClickStream.SASL.PasswordFile: "},
		"KqTLS": {func(c *clickstream.Config) { c.Driver, c.TLS.Enabled = "kq", true }, "ClickStream.TLS.Enabled: "},
		"KqSASL": {func(c *clickstream.Config) {
			c.Driver, c.SASL = "kq", clickstream.SASL{Mechanism: "PLAIN", Username: "u", Password: "secret"}
		}, `ClickStream.SASL.Mechanism: "PLAIN" is not allowed; allowed is nothing with Driver kq`},
	} {
		t.Run("Err"+name, func(t *testing.T) {
			c := clickstream.Config{Brokers: []string{"localhost:9092"}}.WithDefaults()
			tt.change(&c)
			err := c.Validate()
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("got %v, want %q", err, tt.want)
			}
			if strings.Contains(err.Error(), "secret") {
				t.Fatal("the error tells the password")
			}
		})
	}
}
