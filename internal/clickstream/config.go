package clickstream

import (
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"
)

// The drivers.
const (
	DriverKgo = "kgo"
	DriverKq  = "kq"
)

// The SASL mechanisms.
const (
	SASLPlain       = "PLAIN"
	SASLScramSHA256 = "SCRAM-SHA-256"
	SASLScramSHA512 = "SCRAM-SHA-512"
)

// WithDefaults returns c with the defaults of its documentation where a number or a name is not set, for configurations
// that are not read from YAML.
func (c Config) WithDefaults() Config {
	if c.Driver == "" {
		c.Driver = DriverKgo
	}
	if c.Topic == "" {
		c.Topic = DefaultTopic
	}
	if c.Group == "" {
		c.Group = "analytics-consumer"
	}
	if c.SessionTimeout == 0 {
		c.SessionTimeout = 45 * time.Second
	}
	if c.Queue == 0 {
		c.Queue = DefaultQueue
	}
	if c.MaxBatch == 0 {
		c.MaxBatch = 2000
	}
	if c.MaxBatchBytes == 0 {
		c.MaxBatchBytes = 4 << 20
	}
	if c.Conns == 0 {
		c.Conns = 12
	}
	return c
}

// Linger is how long a record waits for company before its batch is sent.
func (c Config) Linger() time.Duration { return time.Duration(c.LingerMillis) * time.Millisecond }

// BatchWait is how long a batch that is not full waits for more records.
func (c Config) BatchWait() time.Duration { return time.Duration(c.BatchMillis) * time.Millisecond }

// Validate reports the first wrong value: its key, the value and what is allowed. It opens no file.
func (c Config) Validate() error {
	switch c.Driver {
	case DriverKgo, DriverKq:
	default:
		return wrong("Driver", c.Driver, "kgo or kq")
	}
	if len(c.Brokers) == 0 {
		return wrong("Brokers", "", "a list of host:port")
	}
	for _, broker := range c.Brokers {
		if !isHostPort(broker) {
			return wrong("Brokers", broker, "a list of host:port")
		}
	}
	if !isTopic(c.Topic) {
		return wrong("Topic", c.Topic, "at most 245 of a-z, A-Z, 0-9, '.', '_' and '-'")
	}
	for _, n := range []struct {
		key             string
		value, low, top int
	}{
		{"Queue", c.Queue, 1, 1 << 24}, {"LingerMillis", c.LingerMillis, 0, 1000},
		{"MaxBatch", c.MaxBatch, 1, 100000}, {"MaxBatchBytes", c.MaxBatchBytes, 1 << 10, 256 << 20},
		{"BatchMillis", c.BatchMillis, 0, 10000}, {"Conns", c.Conns, 1, 1024},
	} {
		if n.value < n.low || n.value > n.top {
			return wrong(n.key, strconv.Itoa(n.value), fmt.Sprintf("a number from %d to %d", n.low, n.top))
		}
	}
	if c.SessionTimeout != 0 && (c.SessionTimeout < time.Second || c.SessionTimeout > time.Hour) {
		return wrong("SessionTimeout", c.SessionTimeout.String(), "a duration from 1s to 1h")
	}
	if err := c.TLS.validate(); err != nil {
		return err
	}
	if err := c.SASL.validate(); err != nil {
		return err
	}
	if c.Driver == DriverKq {
		return c.validateKq()
	}
	return nil
}

func (t TLS) validate() error {
	for _, file := range []struct{ key, value string }{
		{"TLS.CAFile", t.CAFile}, {"TLS.CertFile", t.CertFile}, {"TLS.KeyFile", t.KeyFile}, {"TLS.ServerName", t.ServerName},
	} {
		if file.value != "" && !t.Enabled {
			return wrong(file.key, file.value, "nothing unless TLS.Enabled is true")
		}
	}
	if t.CertFile != "" && t.KeyFile == "" {
		return wrong("TLS.KeyFile", "", "the key's file, since TLS.CertFile is set")
	}
	if t.KeyFile != "" && t.CertFile == "" {
		return wrong("TLS.CertFile", "", "the certificate's file, since TLS.KeyFile is set")
	}
	return nil
}

func (s SASL) validate() error {
	switch s.Mechanism {
	case SASLPlain, SASLScramSHA256, SASLScramSHA512:
	case "":
		if s.Username != "" {
			return wrong("SASL.Username", s.Username, "nothing unless SASL.Mechanism is set")
		}
		if s.Password != "" || s.PasswordFile != "" {
			return wrong("SASL.Mechanism", "", "PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512, since a password is set")
		}
		return nil
	default:
		return wrong("SASL.Mechanism", s.Mechanism, "PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512")
	}
	switch {
	case s.Username == "":
		return wrong("SASL.Username", "", "a name, since SASL.Mechanism is set")
	case s.Password == "" && s.PasswordFile == "":
		return wrong("SASL.PasswordFile", "", "a file, or SASL.Password, since SASL.Mechanism is set")
	case s.Password != "" && s.PasswordFile != "":
		return wrong("SASL.PasswordFile", s.PasswordFile, "nothing when SASL.Password is set")
	}
	return nil
}

// validateKq refuses what go-queue's pusher cannot do, rather than talk in the clear to someone who asked for more.
func (c Config) validateKq() error {
	if c.TLS.Enabled {
		return wrong("TLS.Enabled", "true", "false with Driver kq, which has no TLS; Driver kgo has")
	}
	if c.SASL.Mechanism != "" {
		return wrong("SASL.Mechanism", c.SASL.Mechanism, "nothing with Driver kq, which has no SASL; Driver kgo has")
	}
	return nil
}

func wrong(key, value, allowed string) error {
	return fmt.Errorf("ClickStream.%s: %q is not allowed; allowed is %s", key, value, allowed)
}

func isHostPort(address string) bool {
	host, port, err := net.SplitHostPort(address)
	if err != nil || host == "" {
		return false
	}
	n, err := strconv.ParseUint(port, 10, 16)
	return err == nil && n > 0
}

// isTopic reports whether Kafka takes the name, with room for DeadLetterSuffix.
func isTopic(name string) bool {
	if name == "" || name == "." || name == ".." || len(name)+len(DeadLetterSuffix) > 249 {
		return false
	}
	return !strings.ContainsFunc(name, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '.' && r != '_' && r != '-'
	})
}
