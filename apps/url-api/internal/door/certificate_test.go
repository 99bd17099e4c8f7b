package door

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestCertificateFollowsItsFiles(t *testing.T) {
	dir := t.TempDir()
	files := TLS{CertFile: filepath.Join(dir, "tls.crt"), KeyFile: filepath.Join(dir, "tls.key")}
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	write := func(serial int64, modified time.Time) {
		t.Helper()
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		template := &x509.Certificate{SerialNumber: big.NewInt(serial)}
		der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
		if err != nil {
			t.Fatal(err)
		}
		keyDER, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			t.Fatal(err)
		}
		for file, block := range map[string]*pem.Block{
			files.CertFile: {Type: "CERTIFICATE", Bytes: der}, files.KeyFile: {Type: "PRIVATE KEY", Bytes: keyDER},
		} {
			if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Chtimes(file, modified, modified); err != nil {
				t.Fatal(err)
			}
		}
	}
	write(1, at)
	c := &certificate{files: files}
	if err := c.load(); err != nil {
		t.Fatal(err)
	}
	expect := func(what string, now time.Time, serial int64) {
		t.Helper()
		if got := c.current(now).Leaf.SerialNumber.Int64(); got != serial {
			t.Errorf("%s: certificate %d, want %d", what, got, serial)
		}
	}
	expect("at the start", at, 1)
	write(2, at.Add(time.Hour))
	expect("before the next look", at.Add(certificateCheck-1), 1)
	expect("renewed", at.Add(certificateCheck), 2)
	if err := os.WriteFile(files.KeyFile, []byte("garbage"), 0o600); err != nil {
		t.Fatal(err)
	}
	expect("a pair that cannot be read", at.Add(2*certificateCheck), 2)
}
