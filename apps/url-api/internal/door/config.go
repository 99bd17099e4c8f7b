package door

import (
	"fmt"
	"net/netip"
	"net/url"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"

	"github.com/linktrail/linktrail/internal/clickstream"
	"github.com/linktrail/linktrail/internal/linkcache"
)

// Config is the Door block of url-api's YAML.
type Config struct {
	// Addr is where the front door listens; the caller makes the listener.
	Addr string `json:",default=0.0.0.0:8080"`
	// HomeURL is where / redirects to. Empty: / is a page of a few words.
	HomeURL string `json:",optional"`
	// MaxConns is the most connections at once; further ones are answered 503 and closed.
	MaxConns int `json:",default=65536,range=[1:4194304]"`
	// MaxHeaderBytes is the most that a request line and its headers take; more is answered 431.
	MaxHeaderBytes int `json:",default=16384,range=[1024:1048576]"`
	// MaxLookups is the most requests that wait for a link which the process does not know; more are answered 503 at
	// once, so that a store which has become slow does not hold all. Links that the process knows are always answered.
	MaxLookups int `json:",default=2048,range=[1:1000000]"`
	// MaxUnknownLookups is the part of MaxLookups that codes may have of which the process has never seen that there is a
	// link; 0 is half.
	MaxUnknownLookups int `json:",default=0,range=[0:1000000]"`
	// Shed says when requests are refused because the machine has more to do than it can.
	Shed Shed
	// ReadTimeout is how long a request may take to arrive, WriteTimeout how long its answer to leave, and IdleTimeout
	// how long a connection is kept for the next request. It should exceed that of the proxy in front.
	ReadTimeout  time.Duration `json:",default=5s"`
	WriteTimeout time.Duration `json:",default=10s"`
	IdleTimeout  time.Duration `json:",default=90s"`
	// PermanentMaxAge is how long a browser may keep a 301 or 308 to itself; clicks in that time are not counted.
	PermanentMaxAge time.Duration `json:",default=30s"`
	// AccessLog writes one line a request.
	AccessLog bool `json:",optional"`
	// TLS serves HTTPS in place of HTTP.
	TLS TLS `json:",optional"`
}

// TLS names the door's certificate. Both files are read again when they change.
type TLS struct {
	CertFile string `json:",optional"`
	KeyFile  string `json:",optional"`
}

// Countries tells the country of an address as an ISO 3166-1 alpha-2 code, "" when it does not know.
// *click.Countries is one.
type Countries interface {
	Country(netip.Addr) string
}

// Deps are what the door works with and does not close.
type Deps struct {
	// Links looks links up.
	Links *linkcache.Cache
	// Clicks takes a click for each redirect that is one.
	Clicks clickstream.Publisher
	// Countries may be nil.
	Countries Countries
	// TrustedProxies are addresses and networks in CIDR form whose headers are believed: X-Forwarded-For and its like,
	// CountryHeader, traceparent. Empty is loopback; the single word "none" is nobody.
	TrustedProxies []string
	// CountryHeader names a header in which a trusted proxy tells the caller's country; empty is none.
	CountryHeader string
	// Registry takes the door's metrics; nil is none.
	Registry prometheus.Registerer
	// Tracers makes the server spans; nil is the global provider.
	Tracers trace.TracerProvider
	// Now is the clock; nil is time.Now.
	Now func() time.Time
}

// Validate reports the first wrong value: its key, the value and what is allowed. It opens no file.
func (c Config) Validate() error {
	_, err := c.check()
	return err
}

func (c Config) check() (Config, error) {
	orDefault(&c.MaxConns, 65536)
	orDefault(&c.MaxHeaderBytes, 16<<10)
	orDefault(&c.MaxLookups, 2048)
	orDefault(&c.MaxUnknownLookups, max(1, c.MaxLookups/2))
	orDefault(&c.Shed.Queue, 256)
	orDefault(&c.ReadTimeout, 5*time.Second)
	orDefault(&c.WriteTimeout, 10*time.Second)
	orDefault(&c.IdleTimeout, 90*time.Second)
	orDefault(&c.PermanentMaxAge, 30*time.Second)
	if c.HomeURL != "" {
		u, err := url.Parse(c.HomeURL)
		if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			return c, fmt.Errorf("Door.HomeURL: %q is not an absolute http or https URL", c.HomeURL)
		}
		c.HomeURL = u.String()
	}
	if (c.TLS.CertFile == "") != (c.TLS.KeyFile == "") {
		return c, fmt.Errorf("Door.TLS: CertFile is %q and KeyFile is %q; set both or none", c.TLS.CertFile, c.TLS.KeyFile)
	}
	return c, nil
}

func orDefault[T int | time.Duration](field *T, value T) {
	if *field <= 0 {
		*field = value
	}
}
