package door

import (
	"crypto/tls"
	"os"
	"sync"
	"time"

	"github.com/zeromicro/go-zero/core/logx"
)

// certificateCheck is how often, at most, the files are looked at for a change.
const certificateCheck = 10 * time.Second

// certificate is a key pair that follows its files, for certificates that are renewed under a running process. A pair
// that cannot be read leaves the last good one in use.
type certificate struct {
	files TLS

	mu       sync.Mutex
	pair     *tls.Certificate
	modified [2]time.Time
	checked  time.Time
}

func newTLS(files TLS) (*tls.Config, error) {
	c := &certificate{files: files}
	if err := c.load(); err != nil {
		return nil, err
	}
	return &tls.Config{
		MinVersion:     tls.VersionTLS12,
		NextProtos:     []string{"http/1.1"},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return c.current(time.Now()), nil },
	}, nil
}

func (c *certificate) load() error {
	modified := c.modTimes()
	pair, err := tls.LoadX509KeyPair(c.files.CertFile, c.files.KeyFile)
	if err != nil {
		return err
	}
	c.pair, c.modified = &pair, modified
	return nil
}

func (c *certificate) current(now time.Time) *tls.Certificate {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now.Sub(c.checked) >= certificateCheck {
		c.checked = now
		if c.modTimes() != c.modified {
			if err := c.load(); err != nil {
				logx.Errorf("the door's new certificate cannot be used, the old one stays: %v", err)
			}
		}
	}
	return c.pair
}

func (c *certificate) modTimes() (m [2]time.Time) {
	for i, file := range []string{c.files.CertFile, c.files.KeyFile} {
		if info, err := os.Stat(file); err == nil {
			m[i] = info.ModTime()
		}
	}
	return m
}
