package main

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/linktrail/linktrail/apps/linktrail/internal/doctor"
	"github.com/linktrail/linktrail/apps/linktrail/internal/up"
)

// diagnose runs `linktrail doctor`, which must end with an exit code, and reads its report.
func diagnose(t *testing.T, code int, args ...string) doctor.Report {
	t.Helper()
	got := want(t, code, append([]string{"doctor", "--json"}, args...)...)
	var report doctor.Report
	if err := json.Unmarshal([]byte(got.stdout), &report); err != nil {
		t.Fatalf("%v\n%s", err, got.stdout)
	}
	return report
}

// problems are what a report found wrong, as "check kind".
func problems(r doctor.Report) []string {
	found := []string{}
	for _, f := range r.Checks {
		for _, p := range f.Problems {
			found = append(found, f.Check+" "+string(p.Kind))
		}
	}
	return found
}

func TestDoctor(t *testing.T) {
	r := start(t, t.TempDir())
	r.create("")
	t.Run("OK all is well", func(t *testing.T) {
		report := diagnose(t, 0, "--data", r.data)
		var names []string
		for _, f := range report.Checks {
			names = append(names, f.Check+" "+string(f.Status))
		}
		all := []string{"store ok", "redis ok", "kafka ok", "otlp ok", "jaeger not configured", "url-api ok", "analytics-rpc ok",
			"analytics-consumer ok", "door ok", "api ok"}
		if diff := cmp.Diff(all, names); diff != "" {
			t.Errorf("checks (-want +got):\n%s", diff)
		}
	})
	t.Run("ErrService", func(t *testing.T) {
		pid := r.service(up.AnalyticsRPC).PID
		kill(t, pid, syscall.SIGSTOP)
		defer kill(t, pid, syscall.SIGCONT)
		found := problems(diagnose(t, 1, "--data", r.data, "--timeout", "1s"))
		if text := strings.Join(found, ", "); !strings.Contains(text, "analytics-rpc timeout") || !strings.Contains(text, "api ") {
			t.Errorf("it found %s", text)
		}
	})
	t.Run("ErrKey", func(t *testing.T) {
		id := strings.Split(r.run.APIKey, "_")[1]
		want(t, 0, "keys", "revoke", id, "--data", r.data)
		eventually(t, "the key is refused", func() error {
			if found := linktrail(t, "doctor", "--json", "--data", r.data).stdout; !strings.Contains(found, `"credentials"`) {
				return fmt.Errorf("it found %s", found)
			}
			return nil
		})
	})
	r.stop()
	t.Run("ErrNotRunning", func(t *testing.T) {
		found := problems(diagnose(t, 1, "--data", r.data))
		if diff := cmp.Diff([]string{"redis refused", "kafka refused", "up not_running"}, found); diff != "" {
			t.Errorf("it found (-want +got):\n%s", diff)
		}
		got := want(t, 1, "doctor", "--data", r.data)
		for _, piece := range []string{"FAILED  ", "try: linktrail up --data " + r.data, "not configured  jaeger", "nothing listens"} {
			if !strings.Contains(got.stdout, piece) {
				t.Errorf("it does not tell %q:\n%s", piece, got.stdout)
			}
		}
		if got.stderr != "linktrail: 3 of 6 checks found something wrong\n" {
			t.Errorf("stderr is %q", got.stderr)
		}
	})
	t.Run("OK a service's YAML", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "rpc.yaml")
		MustWrite(t, file, "Name: mine\nListenOn: 127.0.0.1:1\nStore: {DSN: \"sqlite:"+filepath.Join(r.data, "linktrail.db")+"\"}\n")
		if text := want(t, 0, "doctor", "--config", file).stdout; !strings.Contains(text, "schema version") || !strings.Contains(text, "(mine)") {
			t.Errorf("it prints\n%s", text)
		}
	})
	t.Run("OK one server alone", func(t *testing.T) {
		report := diagnose(t, 0, "--store", "sqlite:"+filepath.Join(r.data, "linktrail.db"))
		if len(report.Checks) != 1 || report.Checks[0].Check != "store" {
			t.Errorf("checks are %+v", report.Checks)
		}
	})
	for name, c := range map[string]struct {
		code  int
		tells string
		args  []string
	}{
		"ErrNothing":  {2, "nothing to look at", []string{"doctor", "--data", t.TempDir()}},
		"ErrConfig":   {2, "no such file", []string{"doctor", "--config", "/nowhere.yaml"}},
		"ErrStore":    {2, `"mysql"`, []string{"doctor", "--store", "mysql://x"}},
		"ErrKafka":    {2, "--kafka", []string{"doctor", "--kafka", "nowhere"}},
		"ErrRedis":    {2, "--redis", []string{"doctor", "--redis", "nowhere"}},
		"ErrOTLP":     {2, "--otlp", []string{"doctor", "--otlp", "nowhere"}},
		"ErrTopic":    {2, "--kafka", []string{"doctor", "--topic", "clicks"}},
		"ErrTimeout":  {2, "--timeout", []string{"doctor", "--timeout", "0s"}},
		"ErrRefused":  {1, "1 of 1 checks", []string{"doctor", "--brokers", "127.0.0.1:1"}},
		"ErrArgument": {2, "takes no arguments", []string{"doctor", "everything"}},
	} {
		t.Run(name, func(t *testing.T) {
			if text := want(t, c.code, c.args...).stderr; !strings.Contains(text, c.tells) {
				t.Errorf("it does not tell %q: %s", c.tells, text)
			}
		})
	}
}
