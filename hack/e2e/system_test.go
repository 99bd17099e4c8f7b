package e2e

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/linktrail/linktrail/hack/testenv"
)

// binaries is where TestMain put the commands.
var binaries string

func TestMain(m *testing.M) {
	os.Exit(testenv.WithCommands(m, &binaries, "../../apps/url-api", "../../apps/analytics-rpc", "../../apps/analytics-consumer", "../../apps/linktrail"))
}

// patience is how long a test waits for what must come. Nothing is asserted about how fast it comes.
const patience = 90 * time.Second

// system is the three services on real servers of their own: a database, a topic and a consumer group no other test has.
type system struct {
	t            *testing.T
	dir          string
	dsn          string
	brokers      []string
	topic        string
	key          string
	door, api    string
	urlAPI       *process
	ops          map[string]string // addresses of the ops listeners, by service
	urlAPIConfig string
	sampler      float64
	overlay      string // the folder of the telemetry overlay; none when empty
	client       *http.Client

	publisherDriver, consumerDriver string
}

// options say how a system differs from the usual one.
type options struct {
	publisher, consumer string   // drivers; kgo when empty
	sampler             float64  // the share of new traces that are recorded
	brokers             []string // in place of the test environment's Kafka; then topic is there already
	topic               string
	overlay             string   // the folder of the telemetry overlay
	doorBrokers         []string // where url-api alone looks for Kafka
}

// startSystem migrates, makes a key, and starts the services; all of them end with the test.
func startSystem(t *testing.T, o options) *system {
	t.Helper()
	s := &system{
		t: t, dir: t.TempDir(), dsn: testenv.Postgres(t), brokers: o.brokers, topic: o.topic, sampler: o.sampler, overlay: o.overlay,
		ops:             make(map[string]string),
		publisherDriver: cmp.Or(o.publisher, "kgo"), consumerDriver: cmp.Or(o.consumer, "kgo"),
	}
	s.client = &http.Client{
		Timeout:       30 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport:     &http.Transport{MaxIdleConnsPerHost: 64},
	}
	t.Cleanup(s.client.CloseIdleConnections)
	migrate := []string{"migrate", "--store", s.dsn}
	if s.brokers == nil {
		s.brokers, s.topic = testenv.Kafka(t).Brokers, "click-events-"+randomName(t)
		migrate = append(migrate, "--kafka", strings.Join(s.brokers, ","), "--topic", s.topic)
	}
	s.linktrail(migrate...)
	s.key = s.createKey()

	rpc, rpcOps, consumerOps := testenv.FreeAddr(t), testenv.FreeAddr(t), testenv.FreeAddr(t)
	stream := func(driver string, brokers []string) map[string]any {
		return map[string]any{"Driver": driver, "Brokers": brokers, "Topic": s.topic, "Group": s.topic, "Conns": 2}
	}
	s.start("analytics-rpc", s.config("analytics-rpc", map[string]any{
		"ListenOn": rpc, "Store": map[string]any{"DSN": s.dsn}, "Ops": map[string]any{"Addr": rpcOps},
	}), rpcOps)
	s.start("analytics-consumer", s.config("analytics-consumer", map[string]any{
		"Store": map[string]any{"DSN": s.dsn}, "Ops": map[string]any{"Addr": consumerOps}, "ClickStream": stream(s.consumerDriver, s.brokers),
	}), consumerOps)

	doorBrokers := o.doorBrokers
	if doorBrokers == nil {
		doorBrokers = s.brokers
	}
	door, api, ops := testenv.FreeAddr(t), testenv.FreeAddr(t), testenv.FreeAddr(t)
	host, port, _ := net.SplitHostPort(api)
	s.door, s.api = "http://"+door, "http://"+api
	s.urlAPIConfig = s.config("url-api", map[string]any{
		"Host": host, "Port": json.Number(port), "Door": map[string]any{"Addr": door, "Shed": map[string]any{"Target": "0s"}}, "PublicURL": s.door,
		"Store": map[string]any{"DSN": s.dsn}, "Redis": map[string]any{"Addrs": []string{testenv.Redis(t)}},
		"Ops": map[string]any{"Addr": ops}, "ClickStream": stream(s.publisherDriver, doorBrokers),
		"Journal":    map[string]any{"Dir": s.journal()},
		"Analytics":  map[string]any{"Endpoints": []string{rpc}, "NonBlock": true, "Timeout": 10000},
		"TraceURL":   testenv.Jaeger(t).Query + "/trace/{trace_id}",
		"TraceQuery": map[string]any{"Jaeger": testenv.Jaeger(t).Query},
	})
	s.startURLAPI()
	return s
}

// journal is the folder of url-api's journal.
func (s *system) journal() string { return filepath.Join(s.dir, "journal") }

// startURLAPI starts url-api, at the same addresses each time.
func (s *system) startURLAPI() {
	s.t.Helper()
	var c struct{ Ops struct{ Addr string } }
	must(s.t, yaml.Unmarshal(mustRead(s.t, s.urlAPIConfig), &c))
	s.urlAPI = s.start("url-api", s.urlAPIConfig, c.Ops.Addr)
}

// config writes a service's shipped configuration with some keys set, and returns the path.
func (s *system) config(app string, set map[string]any) string {
	s.t.Helper()
	conf := make(map[string]any)
	must(s.t, yaml.Unmarshal(mustRead(s.t, filepath.Join("../../apps", app, "etc", app+".yaml")), &conf))
	set["Telemetry"] = map[string]any{"Name": app, "Endpoint": testenv.Jaeger(s.t).OTLPGRPC, "Sampler": s.sampler, "Batcher": "otlpgrpc"}
	if s.overlay != "" {
		set["TelemetryOverlay"] = s.overlay
	}
	for key, value := range set {
		inner, isMap := value.(map[string]any)
		shipped, shippedIsMap := conf[key].(map[string]any)
		if isMap && shippedIsMap {
			maps.Copy(shipped, inner)
		} else {
			conf[key] = value
		}
	}
	text, err := yaml.Marshal(conf)
	must(s.t, err)
	file := filepath.Join(s.dir, app+"-"+randomName(s.t)+".yaml")
	must(s.t, os.WriteFile(file, text, 0o600))
	return file
}

// process is one running service.
type process struct {
	name string
	cmd  *exec.Cmd
	log  *syncBuffer
	done chan struct{}
	err  error // valid once done is closed

	killed bool
}

// start runs a service until the test ends and waits until it is ready.
func (s *system) start(name, config, ops string) *process {
	s.t.Helper()
	p := &process{name: name, cmd: exec.Command(filepath.Join(binaries, name), "-f", config), log: &syncBuffer{}, done: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = p.log, p.log
	must(s.t, p.cmd.Start())
	go func() {
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	s.t.Cleanup(func() {
		if err := p.stop(); err != nil {
			s.t.Errorf("%s did not stop cleanly: %v", name, err)
		}
		if s.t.Failed() {
			s.t.Logf("the end of the log of %s:\n%s", name, p.log.tail(6000))
		}
	})
	s.eventually(name+" is ready", func() error {
		select {
		case <-p.done:
			s.t.Fatalf("%s ended at its start: %v\n%s", name, p.err, p.log.tail(4000))
		default:
		}
		res, err := s.client.Get("http://" + ops + "/readyz")
		if err != nil {
			return err
		}
		defer func() { _ = res.Body.Close() }()
		if body, _ := io.ReadAll(res.Body); res.StatusCode != http.StatusOK {
			return fmt.Errorf("%s: %s", res.Status, body)
		}
		return nil
	})
	s.ops[name] = ops
	return p
}

// kill ends a process as nothing can prevent.
func (p *process) kill() {
	p.killed = true
	_ = p.cmd.Process.Kill() // SIGKILL
	<-p.done
}

// stop sends SIGTERM and waits for a clean end; a process that has ended already, or was killed, is fine.
func (p *process) stop() error {
	if p.killed {
		return nil
	}
	select {
	case <-p.done:
		return p.err
	default:
	}
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	select {
	case <-p.done:
		return p.err
	case <-time.After(patience):
		_ = p.cmd.Process.Kill()
		<-p.done
		return fmt.Errorf("still there %v after SIGTERM", patience)
	}
}

// linktrail runs the command and returns what it prints.
func (s *system) linktrail(args ...string) []byte {
	s.t.Helper()
	cmd := exec.Command(filepath.Join(binaries, "linktrail"), args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr, cmd.Dir = &stdout, &stderr, s.dir
	cmd.Env = append(os.Environ(), "LINKTRAIL_SERVER="+s.api, "LINKTRAIL_API_KEY="+s.key, "LINKTRAIL_JAEGER="+testenv.Jaeger(s.t).Query)
	if err := cmd.Run(); err != nil {
		s.t.Fatalf("linktrail %s: %v\n%s", strings.Join(args, " "), err, stderr.Bytes())
	}
	return stdout.Bytes()
}

func (s *system) createKey() string {
	s.t.Helper()
	var created struct {
		Token string `json:"token"`
	}
	out := s.linktrail("keys", "create", "--store", s.dsn, "--name", "e2e", "--output", "json")
	must(s.t, json.Unmarshal(out, &created))
	if created.Token == "" {
		s.t.Fatalf("keys create printed no token: %s", out)
	}
	return created.Token
}

// answer is an HTTP answer whose body is read.
type answer struct {
	status int
	header http.Header
}

// call makes an API request and decodes what comes back into reply.
func (s *system) call(method, path string, body, reply any) answer {
	s.t.Helper()
	var text []byte
	if body != nil {
		var err error
		text, err = json.Marshal(body)
		must(s.t, err)
	}
	req, err := http.NewRequest(method, s.api+"/api/v1"+path, bytes.NewReader(text))
	must(s.t, err)
	req.Header.Set("Authorization", "Bearer "+s.key)
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	res, err := s.client.Do(req)
	must(s.t, err)
	defer func() { _ = res.Body.Close() }()
	text, err = io.ReadAll(res.Body)
	must(s.t, err)
	if res.StatusCode >= 300 {
		s.t.Fatalf("%s %s: %s: %s", method, path, res.Status, text)
	}
	if reply != nil {
		must(s.t, json.Unmarshal(text, reply))
	}
	return answer{res.StatusCode, res.Header}
}

// createLink makes a link over the API and returns its code.
func (s *system) createLink(url string) string {
	s.t.Helper()
	var created struct{ Code string }
	s.call(http.MethodPost, "/links", map[string]any{"url": url}, &created)
	if len(created.Code) != 7 {
		s.t.Fatalf("code %q has not 7 characters", created.Code)
	}
	return created.Code
}

// click calls a code at the front door.
func (s *system) click(code string, header http.Header) (answer, error) {
	req, err := http.NewRequest(http.MethodGet, s.door+"/"+code, nil)
	if err != nil {
		return answer{}, err
	}
	maps.Copy(req.Header, header)
	res, err := s.client.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer func() { _ = res.Body.Close() }()
	_, err = io.Copy(io.Discard, res.Body)
	return answer{res.StatusCode, res.Header}, err
}

// clicks returns what the statistics count for a link, people and bots together.
func (s *system) clicks(code string) int64 {
	s.t.Helper()
	var stats struct{ Clicks, Bots int64 }
	s.call(http.MethodGet, "/links/"+code+"/stats", nil, &stats)
	return stats.Clicks + stats.Bots
}

// eventually polls until check returns nil.
func (s *system) eventually(what string, check func() error) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		err := check()
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			s.t.Fatalf("waited %v until %s: %v", patience, what, err)
		case <-tick.C:
		}
	}
}

// syncBuffer is a buffer that a process writes and a test reads.
type syncBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *syncBuffer) tail(n int) []byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	text := b.buf.Bytes()
	return bytes.Clone(text[max(0, len(text)-n):])
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func mustRead(t *testing.T, file string) []byte {
	t.Helper()
	text, err := os.ReadFile(file)
	must(t, err)
	return text
}
