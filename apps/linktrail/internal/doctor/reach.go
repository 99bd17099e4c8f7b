package doctor

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"time"
)

// keys are the names of a server's settings, for telling people what to change.
type keys struct {
	address string // where it is
	enable  string // switches TLS on
	ca      string // names the authority's file
	cert    string // names the client's certificate
	name    string // replaces the name to verify; empty when there is no such key
}

// security is how TLS is spoken with a server.
type security struct {
	enabled                   bool
	caFile, certFile, keyFile string
	serverName                string
}

// config reads the files.
func (s security) config(k keys) (*tls.Config, *Problem) {
	if !s.enabled {
		return nil, nil
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: s.serverName}
	if s.caFile != "" {
		pem, err := os.ReadFile(s.caFile)
		if err != nil {
			return nil, new(problem(KindFile, "name a PEM file with the authority's certificate in "+k.ca, "%s: %v", k.ca, err))
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, new(problem(KindFile, "name a PEM file with the authority's certificate in "+k.ca, "%s: %s holds no certificate in PEM", k.ca, s.caFile))
		}
	}
	if s.certFile != "" || s.keyFile != "" {
		pair, err := tls.LoadX509KeyPair(s.certFile, s.keyFile)
		if err != nil {
			return nil, new(problem(KindFile, "name the client's certificate and its key in PEM", "%s: %v", k.cert, err))
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c, nil
}

// dial connects to host:port, over TLS when there is a configuration, and closes again.
func dial(ctx context.Context, addr string, config *tls.Config, k keys) *Problem {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return new(network(err, addr, k))
	}
	defer func() { _ = conn.Close() }()
	if config == nil {
		return nil
	}
	config = config.Clone()
	if config.ServerName == "" {
		config.ServerName, _, _ = net.SplitHostPort(addr)
	}
	client := tls.Client(conn, config)
	if err := client.HandshakeContext(ctx); err != nil {
		if closed(err) {
			return new(problem(KindTLS, fmt.Sprintf("if %s is a plain port, set %s to false; else use its TLS port", addr, k.enable),
				"%s ends the connection during the TLS handshake: it may not speak TLS", addr))
		}
		if p, ok := tlsFault(err, addr, k); ok || !timedOut(err) {
			if !ok {
				p = network(err, addr, k)
			}
			return &p
		}
		return new(problem(KindTimeout, fmt.Sprintf("if it is a plain port, set %s to false; else look whether it hangs", k.enable),
			"%s accepts connections and does not answer the TLS handshake", addr))
	}
	return refusedLater(ctx, client, addr, k)
}

// refusedLater looks for the refusal of a client's certificate: with TLS 1.3 it comes after the handshake.
func refusedLater(ctx context.Context, conn *tls.Conn, addr string, k keys) *Problem {
	const moment = 100 * time.Millisecond
	deadline := time.Now().Add(moment)
	if end, ok := ctx.Deadline(); ok && end.Before(deadline) {
		deadline = end
	}
	_ = conn.SetReadDeadline(deadline)
	_, err := conn.Read(make([]byte, 1))
	if alert, ok := alertOf(err); ok {
		return new(alert.problem(addr, k))
	}
	return nil
}

// network says what an error of a connection means.
func network(err error, addr string, k keys) Problem {
	if p, ok := networkFault(err, addr, k); ok {
		return p
	}
	return problem(KindOther, "", "%s: %s", addr, oneLine(err))
}

// networkFault is network for an error that may be about something else.
func networkFault(err error, addr string, k keys) (Problem, bool) {
	if p, ok := tlsFault(err, addr, k); ok {
		return p, true
	}
	if e, ok := errors.AsType[*net.DNSError](err); ok {
		if e.IsNotFound {
			return problem(KindDNS, fmt.Sprintf("correct the name in %s; see `getent hosts %s`", k.address, e.Name),
				"the name %q does not resolve", e.Name), true
		}
		return problem(KindDNS, "look at this machine's name servers (/etc/resolv.conf)", "the name %q cannot be looked up: %s", e.Name, e.Err), true
	}
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return problem(KindRefused, fmt.Sprintf("start it, or correct %s%s", k.address, inContainer(addr)),
			"connection refused: nothing listens on %s", addr), true
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return problem(KindUnreachable, "look at routes and firewalls, or correct "+k.address, "there is no way to %s", addr), true
	case timedOut(err):
		if dialing(err) {
			return problem(KindTimeout, fmt.Sprintf("look for a firewall or a network policy in between, or correct %s", k.address),
				"no answer from %s: what is sent there is lost", addr), true
		}
		return silent(addr, k), true
	case closed(err):
		return problem(KindProtocol, fmt.Sprintf("look at the server's log; correct %s if another server listens there", k.address),
			"%s ends the connection without an answer", addr), true
	}
	return Problem{}, false
}

// silent is a server that accepts connections and says nothing.
func silent(addr string, k keys) Problem {
	return problem(KindTimeout, fmt.Sprintf("look whether it hangs; correct %s if it is another server; --timeout waits longer", k.address),
		"%s accepts connections and does not answer", addr)
}

// inContainer is a hint for the classic mistake.
func inContainer(addr string) string {
	host, _, err := net.SplitHostPort(addr)
	if _, missing := os.Stat("/.dockerenv"); err != nil || missing != nil || host != "localhost" && host != "127.0.0.1" && host != "::1" {
		return ""
	}
	return "; in a container, " + host + " is the container itself"
}

func timedOut(err error) bool {
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded) {
		return true
	}
	timeout, ok := errors.AsType[net.Error](err)
	return ok && timeout.Timeout()
}

// dialing says whether the connection itself was not made.
func dialing(err error) bool {
	op, ok := errors.AsType[*net.OpError](err)
	return ok && op.Op == "dial"
}

func closed(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// tlsFault says what an error of a TLS handshake means.
func tlsFault(err error, addr string, k keys) (Problem, bool) {
	if alert, ok := alertOf(err); ok {
		return alert.problem(addr, k), true
	}
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		return problem(KindTLS, fmt.Sprintf("set %s to false, or use its TLS port", k.enable), "%s does not speak TLS", addr), true
	}
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return problem(KindTLS, fmt.Sprintf("name a PEM file with its authority in %s", k.ca),
			"%s has a certificate of an authority that is not trusted here", addr), true
	}
	if e, ok := errors.AsType[x509.HostnameError](err); ok {
		try := "use one of these names in " + k.address
		if k.name != "" {
			try += ", or set " + k.name
		}
		return problem(KindTLS, try, "%s has a certificate for %s, not for %s", addr, names(e.Certificate), e.Host), true
	}
	if e, ok := errors.AsType[x509.CertificateInvalidError](err); ok {
		return invalid(e, addr), true
	}
	return Problem{}, false
}

func invalid(e x509.CertificateInvalidError, addr string) Problem {
	switch now := time.Now(); {
	case e.Reason == x509.Expired && e.Cert != nil && now.Before(e.Cert.NotBefore):
		return problem(KindTLS, "look at this machine's clock", "%s has a certificate that is not valid before %s", addr, e.Cert.NotBefore.UTC().Format(time.RFC3339))
	case e.Reason == x509.Expired && e.Cert != nil:
		return problem(KindTLS, "have its certificate renewed", "%s has a certificate that expired at %s", addr, e.Cert.NotAfter.UTC().Format(time.RFC3339))
	}
	return problem(KindTLS, "have its certificate made anew", "%s has a certificate that is not valid: %v", addr, e)
}

func names(c *x509.Certificate) string {
	if c == nil {
		return "others"
	}
	all := c.DNSNames
	for _, ip := range c.IPAddresses {
		all = append(all, ip.String())
	}
	if len(all) == 0 {
		return "no name at all"
	}
	return strings.Join(all[:min(len(all), 5)], ", ")
}

// alert is what a server said of our side of a handshake.
type alert string

// alertOf finds it: crypto/tls keeps its type to itself and tells it as a *net.OpError "remote error".
func alertOf(err error) (alert, bool) {
	op, ok := errors.AsType[*net.OpError](err)
	if !ok || op.Op != "remote error" || op.Err == nil {
		return "", false
	}
	text, ok := strings.CutPrefix(op.Err.Error(), "tls: ")
	return alert(text), ok
}

func (a alert) problem(addr string, k keys) Problem {
	switch a {
	case "bad certificate", "certificate required":
		return problem(KindTLS, "name a client's certificate and its key in "+k.cert, "%s wants a client's certificate", addr)
	case "unknown certificate authority":
		return problem(KindTLS, fmt.Sprintf("name in %s a certificate that its authority has signed", k.cert), "%s does not trust our certificate", addr)
	}
	return problem(KindTLS, "look at the server's log", "%s refuses the TLS handshake: %s", addr, string(a))
}

// oneLine is an error's text without line breaks, cut to what a person reads.
func oneLine(err error) string { return shorten(err.Error()) }

func shorten(text string) string {
	const most = 300
	text = strings.Join(strings.Fields(text), " ")
	if runes := []rune(text); len(runes) > most {
		return string(runes[:most-1]) + "…"
	}
	return text
}
