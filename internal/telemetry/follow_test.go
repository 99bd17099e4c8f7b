package telemetry

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// MustFollow makes a provider that follows an overlay, without making it global,
// and ends it with the test.
func MustFollow(t *testing.T, cfg Config, dir string, opts ...Option) *Provider {
	t.Helper()
	p, err := newProvider(cfg, append([]Option{WithOverlay(dir), WithBatchDelay(5 * time.Millisecond)}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	p.follow()
	t.Cleanup(func() { _ = p.Shutdown(expired()) })
	return p
}

// ownBlock is a service's own block: it exports nothing, so that tests tell it from
// an overlay.
func ownBlock() Config { return Config{Name: "url-api", Batcher: BatcherOTLPGRPC, Sampler: 0.5} }

func ratio(r float64) string { return fmt.Sprintf("Telemetry:\n  Sampler: %g\n", r) }

// MustOverlay writes telemetry.yaml.
func MustOverlay(t *testing.T, dir, content string) {
	t.Helper()
	MustWriteFile(t, filepath.Join(dir, OverlayFile), content)
}

// inForceSoon waits until an overlay of these files is in force, with that ratio.
func inForceSoon(t *testing.T, p *Provider, telemetryYAML, headersYAML string, sampler float64) {
	t.Helper()
	want := OverlayHash([]byte(telemetryYAML), []byte(headersYAML))
	eventually(t, fmt.Sprintf("ratio %g is in force", sampler), func() bool {
		s := p.Status()
		return s.Hash == want && s.Sampler == sampler && s.Refused == nil
	})
}

// Following promises two seconds, without any help of the system too.
func TestPace(t *testing.T) {
	if most := usualPace.poll + usualPace.limit; most > 1600*time.Millisecond {
		t.Errorf("a change may wait %v: nothing is left of the two seconds", most)
	}
}

func TestFollowFiles(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "telemetry")
	p := MustFollow(t, ownBlock(), dir)
	if s := p.Status(); s.Hash != "" || s.Sampler != 0.5 || s.Refused != nil || s.Overlay != dir || s.Since.IsZero() {
		t.Fatalf("without the folder: %+v", s)
	}
	file := filepath.Join(dir, OverlayFile)
	steps := []struct {
		name    string
		do      func() error
		content string
		ratio   float64
	}{
		{"the folder appears", func() error { return os.Mkdir(dir, 0o700) }, "", 0.5},
		{"the file appears", func() error { return os.WriteFile(file, []byte(ratio(0.1)), 0o600) }, ratio(0.1), 0.1},
		{"it is written in place", func() error { return os.WriteFile(file, []byte(ratio(0.2)), 0o600) }, ratio(0.2), 0.2},
		{"another is renamed over it", func() error {
			if err := os.WriteFile(file+".new", []byte(ratio(0.3)), 0o600); err != nil {
				return err
			}
			return os.Rename(file+".new", file)
		}, ratio(0.3), 0.3},
		{"it vanishes", func() error { return os.Remove(file) }, "", 0.5},
		{"it becomes a link", func() error {
			elsewhere := filepath.Join(filepath.Dir(dir), "elsewhere.yaml")
			if err := os.WriteFile(elsewhere, []byte(ratio(0.4)), 0o600); err != nil {
				return err
			}
			return os.Symlink(elsewhere, file)
		}, ratio(0.4), 0.4},
		{"what it leads to is written, of which the folder tells nothing", func() error {
			return os.WriteFile(filepath.Join(filepath.Dir(dir), "elsewhere.yaml"), []byte(ratio(0.6)), 0o600)
		}, ratio(0.6), 0.6},
		{"the folder is removed", func() error { return os.RemoveAll(dir) }, "", 0.5},
		{"it is made again, with a file", func() error {
			if err := os.Mkdir(dir, 0o700); err != nil {
				return err
			}
			return os.WriteFile(file, []byte(ratio(0.7)), 0o600)
		}, ratio(0.7), 0.7},
		{"and written again", func() error { return os.WriteFile(file, []byte(ratio(0.8)), 0o600) }, ratio(0.8), 0.8},
		{"another folder takes its place", func() error {
			if err := os.Mkdir(dir+".new", 0o700); err != nil {
				return err
			}
			if err := os.WriteFile(filepath.Join(dir+".new", OverlayFile), []byte(ratio(0.9)), 0o600); err != nil {
				return err
			}
			if err := os.Rename(dir, dir+".old"); err != nil {
				return err
			}
			return os.Rename(dir+".new", dir)
		}, ratio(0.9), 0.9},
		{"and is written", func() error { return os.WriteFile(file, []byte(ratio(1)), 0o600) }, ratio(1), 1},
	}
	for _, step := range steps {
		if !t.Run(step.name, func(t *testing.T) {
			must(t, step.do())
			inForceSoon(t, p, step.content, "", step.ratio)
		}) {
			return
		}
	}
}

// atomicWriter writes a volume as the kubelet does
// (k8s.io/kubernetes/pkg/volume/util, AtomicWriter.Write).
type atomicWriter struct {
	t    *testing.T
	dir  string
	next int
}

func (w *atomicWriter) write(files map[string]string) {
	w.t.Helper()
	data := filepath.Join(w.dir, "..data")
	before, _ := os.Readlink(data)
	w.next++
	stamped := fmt.Sprintf("..2026_11_23_08_15_%02d.%d", w.next%60, 1234567890+w.next)
	must(w.t, os.Mkdir(filepath.Join(w.dir, stamped), 0o755))
	for name, content := range files {
		must(w.t, os.WriteFile(filepath.Join(w.dir, stamped, name), []byte(content), 0o644))
	}
	must(w.t, os.Symlink(stamped, filepath.Join(w.dir, "..data_tmp")))
	must(w.t, os.Rename(filepath.Join(w.dir, "..data_tmp"), data))
	for name := range files {
		if err := os.Symlink(filepath.Join("..data", name), filepath.Join(w.dir, name)); err != nil && !os.IsExist(err) {
			w.t.Fatal(err)
		}
	}
	entries, err := os.ReadDir(w.dir)
	must(w.t, err)
	for _, entry := range entries {
		if _, ok := files[entry.Name()]; !ok && !strings.HasPrefix(entry.Name(), "..") {
			must(w.t, os.Remove(filepath.Join(w.dir, entry.Name())))
		}
	}
	if before != "" {
		must(w.t, os.RemoveAll(filepath.Join(w.dir, before)))
	}
}

func TestFollowKubernetesVolume(t *testing.T) {
	dir := t.TempDir()
	volume := &atomicWriter{t: t, dir: dir}
	volume.write(nil) // both sources are optional and missing
	own := ownBlock()
	own.Endpoint, own.Sampler = "127.0.0.1:1", 0.5
	p := MustFollow(t, own, dir)

	seen := map[string]bool{}
	watching, stop := context.WithCancel(context.Background())
	var watched sync.WaitGroup
	watched.Go(func() {
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for watching.Err() == nil {
			seen[p.Status().Hash] = true
			<-tick.C
		}
	})
	headers := func(token string) string { return "Telemetry:\n  OtlpHeaders:\n    token: " + token + "\n" }
	written := map[string]bool{"": true}
	for i := range 6 {
		telemetryYAML, headersYAML := ratio(0.1+float64(i)/100), headers(fmt.Sprint("t", i))
		files := map[string]string{OverlayFile: telemetryYAML, HeadersFile: headersYAML}
		if i == 2 || i == 5 { // the Secret is gone for a while
			delete(files, HeadersFile)
			headersYAML = ""
		}
		volume.write(files)
		written[OverlayHash([]byte(telemetryYAML), []byte(headersYAML))] = true
		inForceSoon(t, p, telemetryYAML, headersYAML, 0.1+float64(i)/100)
		p.mu.Lock()
		token := p.inForce.cfg.OtlpHeaders["token"]
		p.mu.Unlock()
		if want := map[bool]string{true: "", false: fmt.Sprint("t", i)}[headersYAML == ""]; token != want {
			t.Errorf("the header is %q, want %q", token, want)
		}
	}
	volume.write(nil)
	inForceSoon(t, p, "", "", 0.5)
	stop()
	watched.Wait()
	for hash := range seen {
		if !written[hash] {
			t.Errorf("%s was in force, a mixture of two writes", hash)
		}
	}
	if n := p.counts.reloads[reloadRefused].Load(); n != 0 {
		t.Errorf("%d were refused", n)
	}
}

func TestFollowRefuses(t *testing.T) {
	dir := t.TempDir()
	p := MustFollow(t, ownBlock(), dir)
	MustOverlay(t, dir, ratio(0.1))
	inForceSoon(t, p, ratio(0.1), "", 0.1)
	since := p.Status().Since

	refusedSoon := func(content, why string) {
		t.Helper()
		MustOverlay(t, dir, content)
		eventually(t, "it is refused", func() bool {
			refused := p.Status().Refused
			return refused != nil && refused.Hash == OverlayHash([]byte(content), nil)
		})
		s := p.Status()
		if !strings.Contains(s.Refused.Reason, filepath.Join(dir, OverlayFile)+": "+why) || s.Refused.At.Before(since) {
			t.Errorf("refused: %+v, want %s", s.Refused, why)
		}
		if s.Sampler != 0.1 || s.Hash != OverlayHash([]byte(ratio(0.1)), nil) || !s.Since.Equal(since) {
			t.Errorf("in force is %+v, want the last good one", s)
		}
	}
	refusedSoon(ratio(7), "Telemetry.Sampler: 7 is not a number from 0")
	if got := MustGather(t, p)["linktrail_telemetry_overlay_refused"]; got != 1 {
		t.Errorf("the metric of the refusal is %v", got)
	}
	refusedSoon("Telemetry: {Name: other}", `Telemetry.Name: "url-api" cannot become "other"`)
	refusedSoon("Telemetry: {Batcher: file, Endpoint: "+filepath.Join(dir, OverlayFile, "x")+"}", "Telemetry.Endpoint: cannot write to ")

	// What was in force is written again, then removed.
	MustOverlay(t, dir, ratio(0.1))
	inForceSoon(t, p, ratio(0.1), "", 0.1)
	refusedSoon2 := "Telemetry: ["
	MustOverlay(t, dir, refusedSoon2)
	eventually(t, "it is refused", func() bool { return p.Status().Refused != nil })
	must(t, os.Remove(filepath.Join(dir, OverlayFile)))
	inForceSoon(t, p, "", "", 0.5)

	metrics := MustGather(t, p)
	for name, want := range map[string]float64{
		"linktrail_telemetry_reloads_total{in_force}": 3,
		"linktrail_telemetry_reloads_total{refused}":  4,
		"linktrail_telemetry_overlay_refused":         0,
		"linktrail_telemetry_exporters_draining":      0,
	} {
		if metrics[name] != want {
			t.Errorf("%s is %v, want %v", name, metrics[name], want)
		}
	}
	if got := metrics["linktrail_telemetry_in_force_timestamp_seconds"]; got < float64(since.Unix()) {
		t.Errorf("in force since %v, before %v", got, since.Unix())
	}
}

// A wrong overlay at the start stops nothing.
func TestStartWithOverlay(t *testing.T) {
	t.Run("OK", func(t *testing.T) {
		dir := t.TempDir()
		MustOverlay(t, dir, ratio(0.25))
		own := ownBlock()
		own.Batcher, own.Endpoint = BatcherFile, filepath.Join(dir, "own", "spans.jsonl")
		p, err := newProvider(own, WithOverlay(dir))
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = p.Shutdown(expired()) }()
		if s := p.Status(); s.Sampler != 0.25 || s.Hash == "" || s.Exporter != BatcherFile {
			t.Errorf("got %+v", s)
		}
	})
	t.Run("OKRefused", func(t *testing.T) {
		dir := t.TempDir()
		MustOverlay(t, dir, "Telemetry: {Sampler: 2}")
		p := MustFollow(t, ownBlock(), dir)
		if s := p.Status(); s.Sampler != 0.5 || s.Hash != "" || s.Refused == nil {
			t.Fatalf("got %+v", s)
		}
		MustOverlay(t, dir, ratio(0.2))
		inForceSoon(t, p, ratio(0.2), "", 0.2)
	})
}

// mustLook makes a follower whose time is the test's.
func mustLook(t *testing.T, dir string) (*Provider, *follower) {
	t.Helper()
	p, err := newProvider(ownBlock(), WithOverlay(dir))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Shutdown(expired()) })
	return p, &follower{provider: p, pace: usualPace, handled: p.first}
}

func TestSettling(t *testing.T) {
	at := func(ms int) time.Time { return time.Unix(1000, 0).Add(time.Duration(ms) * time.Millisecond) }

	t.Run("a torn file that becomes whole is never refused", func(t *testing.T) {
		dir := t.TempDir()
		p, f := mustLook(t, dir)
		MustOverlay(t, dir, "Telemetry: {Sampler:")
		for _, ms := range []int{0, 100, 300, 450} {
			if f.look(at(ms)) <= 0 {
				t.Fatalf("handled after %d ms", ms)
			}
		}
		MustOverlay(t, dir, "Telemetry: {Sampler: 0.1}")
		f.look(at(460))
		if f.look(at(570)); p.Status().Sampler != 0.1 || p.counts.reloads[reloadRefused].Load() != 0 {
			t.Errorf("got %+v", p.Status())
		}
	})
	t.Run("an emptied file is waited for", func(t *testing.T) {
		dir := t.TempDir()
		p, f := mustLook(t, dir)
		MustOverlay(t, dir, ratio(0.1))
		f.look(at(0))
		f.look(at(110))
		MustOverlay(t, dir, "")
		f.look(at(1000))
		f.look(at(1300))
		if got := p.Status().Sampler; got != 0.1 {
			t.Errorf("the ratio is %v while the file is empty", got)
		}
		f.look(at(1510))
		if got := p.Status().Sampler; got != 0.5 {
			t.Errorf("the ratio is %v, want the service's own", got)
		}
	})
	t.Run("headers that come a moment later come with the rest", func(t *testing.T) {
		dir := t.TempDir()
		p, f := mustLook(t, dir)
		MustOverlay(t, dir, ratio(0.1))
		f.look(at(0))
		f.look(at(90))
		MustWriteFile(t, filepath.Join(dir, HeadersFile), "Telemetry: {OtlpHeaders: {a: b}}")
		f.look(at(100))
		if p.Status().Hash != "" {
			t.Error("half of it is in force")
		}
		f.look(at(210))
		if n := p.counts.reloads[reloadInForce].Load(); n != 1 || p.Status().Hash == "" {
			t.Errorf("%d reloads", n)
		}
	})
	t.Run("a file that never rests is in force all the same", func(t *testing.T) {
		dir := t.TempDir()
		p, f := mustLook(t, dir)
		for ms := 0; ms <= 1000; ms += 50 {
			MustOverlay(t, dir, fmt.Sprintf("# %d\n%s", ms, ratio(0.1)))
			f.look(at(ms))
		}
		if p.Status().Sampler != 0.1 {
			t.Error("nothing is in force after a second")
		}
	})
	t.Run("what was refused is tried again, and told once", func(t *testing.T) {
		dir := t.TempDir()
		p, f := mustLook(t, dir)
		blocked := filepath.Join(dir, "blocked")
		MustWriteFile(t, blocked, "a file where a folder should be")
		MustOverlay(t, dir, fmt.Sprintf("Telemetry: {Batcher: file, Endpoint: %q}", filepath.Join(blocked, "spans.jsonl")))
		for ms := 0; ms < 60_000; ms += 500 {
			f.look(at(ms))
		}
		if n := p.counts.reloads[reloadRefused].Load(); n != 1 || p.Status().Refused == nil {
			t.Fatalf("refused %d times", n)
		}
		must(t, os.Remove(blocked))
		f.look(at(66_000))
		if s := p.Status(); s.Refused != nil || s.Exporter != BatcherFile {
			t.Errorf("got %+v", s)
		}
	})
}

// The exporter goes on when only the sampler changes.
func TestSamplerAloneKeepsExporter(t *testing.T) {
	dir := t.TempDir()
	own := ownBlock()
	own.Endpoint = "127.0.0.1:1"
	p := MustFollow(t, own, dir)
	pipe := p.processor.current.Load()
	MustOverlay(t, dir, ratio(0.1))
	inForceSoon(t, p, ratio(0.1), "", 0.1)
	if p.processor.current.Load() != pipe {
		t.Error("the exporter was exchanged")
	}
	content := ratio(0.2) + "  OtlpHeaders: {a: b}\n"
	MustOverlay(t, dir, content)
	inForceSoon(t, p, content, "", 0.2)
	if p.processor.current.Load() == pipe {
		t.Error("other headers, and the exporter is the same")
	}
}

// A certificate in the overlay is found beside it, and its renewal is followed.
func TestFollowCertificates(t *testing.T) {
	dir := t.TempDir()
	first, second := MustAuthority(t), MustAuthority(t)
	var collectors [2]otlpCollector
	endpoints := [2]string{
		collectors[0].MustServeGRPC(t, first.MustServerTLS(t, false)),
		collectors[1].MustServeGRPC(t, second.MustServerTLS(t, false)),
	}
	p := MustFollow(t, ownBlock(), dir)
	volume := &atomicWriter{t: t, dir: dir}
	overlay := func(i int) string {
		return fmt.Sprintf("Telemetry: {Endpoint: %q, OtlpGrpcSecure: true, OtlpCaFile: ca.pem, Sampler: 1}", endpoints[i])
	}
	read := func(a *authority) string {
		content, err := os.ReadFile(a.file)
		must(t, err)
		return string(content)
	}
	volume.write(map[string]string{OverlayFile: overlay(0), "ca.pem": read(first)})
	inForceSoon(t, p, overlay(0), "", 1)
	end(p, "first")
	eventually(t, "the first collector has a span", func() bool { return collectors[0].count() == 1 })

	// The collector gets a certificate of another authority; only ca.pem changes.
	volume.write(map[string]string{OverlayFile: overlay(1), "ca.pem": read(first)})
	inForceSoon(t, p, overlay(1), "", 1)
	since := p.Status().Since
	volume.write(map[string]string{OverlayFile: overlay(1), "ca.pem": read(second)})
	eventually(t, "the new authority is in force", func() bool { return p.Status().Since.After(since) })
	end(p, "second")
	eventually(t, "the second collector has a span", func() bool { return collectors[1].count() == 1 })

	// One that is broken changes nothing and is told.
	volume.write(map[string]string{OverlayFile: overlay(1), "ca.pem": "torn"})
	eventually(t, "a broken authority is refused", func() bool {
		refused := p.Status().Refused
		return refused != nil && strings.Contains(refused.Reason, "holds no certificate in PEM")
	})
	end(p, "third")
	eventually(t, "spans go on", func() bool { return collectors[1].count() == 2 })
}

func TestStatusHandler(t *testing.T) {
	dir := t.TempDir()
	MustOverlay(t, dir, "Telemetry: {Batcher: zipkin, Endpoint: 'http://me:hidden@zipkin:9411/api?key=hidden', Sampler: 0.25}")
	MustWriteFile(t, filepath.Join(dir, HeadersFile), "Telemetry: {OtlpHeaders: {token: hidden}}")
	p := MustFollow(t, ownBlock(), dir)
	answer := httptest.NewRecorder()
	p.StatusHandler().ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/telemetry", nil))
	if bytes.Contains(answer.Body.Bytes(), []byte("hidden")) {
		t.Errorf("a credential is shown: %s", answer.Body)
	}
	var got map[string]any
	must(t, json.Unmarshal(answer.Body.Bytes(), &got))
	for key, want := range map[string]any{
		"service": "url-api", "exporter": "zipkin", "endpoint": "http://***@zipkin:9411/api?***", "sampler": 0.25,
		"disabled": false, "overlay": dir, "refused": nil, "hash": p.Status().Hash, "began": false, "continued": false,
	} {
		if value, ok := got[key]; !ok || value != want {
			t.Errorf("%s is %v, want %v", key, got[key], want)
		}
	}
	if _, err := time.Parse(time.RFC3339, fmt.Sprint(got["since"])); err != nil {
		t.Error(err)
	}
}

func TestShutdownEndsFollowing(t *testing.T) {
	dir := t.TempDir()
	p := MustFollow(t, ownBlock(), dir)
	must(t, p.Shutdown(within(t, time.Minute)))
	select {
	case <-p.follower.done:
	default:
		t.Error("the overlay is followed after Shutdown")
	}
}
