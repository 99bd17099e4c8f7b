package doctor

import (
	"path/filepath"
	"strings"
	"testing"
)

// TestServices reads YAML as the services do.
func TestServices(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) Service {
		t.Helper()
		path := filepath.Join(dir, name)
		MustWrite(t, path, text)
		s, err := ReadService(path)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	t.Setenv("DOCTOR_TEST_HOST", "127.0.0.1:1")
	const store = "Store: {DSN: \"postgres://u:" + secret + "@${DOCTOR_TEST_HOST}/x\"}\n"
	stream := "ClickStream: {Brokers: [\"127.0.0.1:1\"]}\n"
	api := file("url-api.yaml", "Name: url-api\nPublicURL: https://go.example.com\nTraceURL: http://127.0.0.1:1/trace/{trace_id}\n"+
		"TelemetryOverlay: "+dir+"\n"+store+stream)
	consumer := file("consumer.yaml", "Name: analytics-consumer\n"+store+stream+"Telemetry: {Endpoint: \"127.0.0.1:1\"}\n")

	t.Run("OK what is alike is looked at once, in order", func(t *testing.T) {
		r := examine(t, System{Services: []Service{api, consumer}}, patience)
		var names []string
		for _, f := range r.Checks {
			names = append(names, f.Check+" "+string(f.Status)+" "+strings.Join(f.Services, ","))
		}
		want := []string{"store failed url-api,analytics-consumer", "redis not configured ", "kafka failed url-api,analytics-consumer",
			"otlp failed analytics-consumer", "jaeger failed url-api"}
		if got := strings.Join(names, "; "); got != strings.Join(want, "; ") {
			t.Errorf("checks are %s", got)
		}
		wantProblem(t, r, checkStore, KindRefused, "127.0.0.1:1")
		wantProblem(t, r, checkJaeger, KindRefused)
	})
	t.Run("OK the overlay counts", func(t *testing.T) {
		MustWrite(t, filepath.Join(dir, "telemetry.yaml"), "Telemetry: {Endpoint: \"there-is-none.invalid:4317\"}\n")
		api, err := ReadService(filepath.Join(dir, "url-api.yaml"))
		if err != nil {
			t.Fatal(err)
		}
		wantProblem(t, examine(t, System{Services: []Service{api}}, patience), checkOTLP, KindDNS, "there-is-none.invalid")
	})
	t.Run("ErrOverlay", func(t *testing.T) {
		MustWrite(t, filepath.Join(dir, "telemetry.yaml"), "Telemetry: {Sampler: 7}\n")
		api, err := ReadService(filepath.Join(dir, "url-api.yaml"))
		if err != nil {
			t.Fatal(err)
		}
		wantProblem(t, examine(t, System{Services: []Service{api}}, patience), checkOTLP, KindConfig, "telemetry.yaml", "Telemetry.Sampler", "correct it in "+dir)
		r := examine(t, System{Services: []Service{api, api}}, patience)
		if f := find(t, r, checkOTLP); len(f.Services) != 2 || f.Target != dir {
			t.Errorf("what services share is not told once: %+v", f)
		}
	})
	t.Run("ErrValues are told one by one", func(t *testing.T) {
		s := file("wrong.yaml", "Name: wrong\nStore: {DSN: \"mysql://root:"+secret+"@localhost/x\"}\nRedis: {Addrs: [\"127.0.0.1:1\"], DB: -1}\n"+
			"ClickStream: {Brokers: [nowhere], Driver: kgo}\nTelemetry: {Batcher: jaeger, Endpoint: x}\n")
		r := examine(t, System{Services: []Service{s}}, patience)
		wantProblem(t, r, checkStore, KindConfig, `"mysql"`, "wrong.yaml")
		wantProblem(t, r, checkRedis, KindConfig, "Redis", "wrong.yaml")
		wantProblem(t, r, checkKafka, KindConfig, "ClickStream.Brokers", "nowhere")
		wantProblem(t, r, checkOTLP, KindConfig, "Telemetry.Batcher", "otlpgrpc")
	})
	t.Run("OK a variable that is not set is told", func(t *testing.T) {
		s := file("unset.yaml", "# ${NAME} is a variable.\nName: unset\nStore: {DSN: \"postgres://u:${DOCTOR_TEST_UNSET}@127.0.0.1:1/x\"}\n"+stream)
		r := examine(t, System{Services: []Service{s}}, patience)
		if len(r.Notes) != 1 || !strings.Contains(r.Notes[0], "uses DOCTOR_TEST_UNSET,") {
			t.Errorf("notes are %q", r.Notes)
		}
	})
	t.Run("ErrFile", func(t *testing.T) {
		MustWrite(t, filepath.Join(dir, "text"), "{ this is no YAML\n")
		for _, name := range []string{"text", "none"} {
			if _, err := ReadService(filepath.Join(dir, name)); err == nil || !strings.Contains(err.Error(), name) {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}
