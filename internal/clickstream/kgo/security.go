package kgo

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	franz "github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	"github.com/linktrail/linktrail/internal/clickstream"
)

// dialTimeout is how long a connection and its TLS handshake may take.
const dialTimeout = 10 * time.Second

// security returns the options for TLS and SASL. Certificates, keys and the password file are read at every connection,
// since Secrets change; here they are read once so that a wrong one stops the start.
func security(c clickstream.Config) ([]franz.Opt, error) {
	var options []franz.Opt
	if c.TLS.Enabled {
		if _, err := tlsConfig(c.TLS); err != nil {
			return nil, err
		}
		options = append(options, franz.Dialer(func(ctx context.Context, network, address string) (net.Conn, error) {
			config, err := tlsConfig(c.TLS)
			if err != nil {
				return nil, err
			}
			ctx, cancel := context.WithTimeout(ctx, dialTimeout)
			defer cancel()
			return (&tls.Dialer{Config: config}).DialContext(ctx, network, address)
		}))
	} else {
		options = append(options, franz.DialTimeout(dialTimeout))
	}
	s := c.SASL
	if s.Mechanism == "" {
		return options, nil
	}
	if _, err := password(s); err != nil {
		return nil, err
	}
	return append(options, franz.SASL(mechanism(s))), nil
}

func mechanism(s clickstream.SASL) sasl.Mechanism {
	if s.Mechanism == clickstream.SASLPlain {
		return plain.Plain(func(context.Context) (plain.Auth, error) {
			pass, err := password(s)
			return plain.Auth{User: s.Username, Pass: pass}, err
		})
	}
	auth := func(context.Context) (scram.Auth, error) {
		pass, err := password(s)
		return scram.Auth{User: s.Username, Pass: pass}, err
	}
	if s.Mechanism == clickstream.SASLScramSHA256 {
		return scram.Sha256(auth)
	}
	return scram.Sha512(auth)
}

// tlsConfig reads the files. The name that is verified is the broker's host unless ServerName is set.
func tlsConfig(c clickstream.TLS) (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: c.ServerName}
	if c.CAFile != "" {
		pem, err := os.ReadFile(c.CAFile)
		if err != nil {
			return nil, fmt.Errorf("ClickStream.TLS.CAFile: %w", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("ClickStream.TLS.CAFile: %s holds no certificate in PEM", c.CAFile)
		}
	}
	if c.CertFile != "" {
		pair, err := tls.LoadX509KeyPair(c.CertFile, c.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("ClickStream.TLS.CertFile: %w", err)
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return config, nil
}

func password(s clickstream.SASL) (string, error) {
	if s.PasswordFile == "" {
		return s.Password, nil
	}
	content, err := os.ReadFile(s.PasswordFile)
	if err != nil {
		return "", fmt.Errorf("ClickStream.SASL.PasswordFile: %w", err)
	}
	pass := strings.TrimRight(string(content), "\r\n")
	if pass == "" {
		return "", errors.New("ClickStream.SASL.PasswordFile: " + s.PasswordFile + " is empty")
	}
	return pass, nil
}
