package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"github.com/linktrail/linktrail/apps/linktrail/internal/client"
	"github.com/linktrail/linktrail/internal/apikey"
	"github.com/linktrail/linktrail/internal/tracequery"
)

func TestLinks(t *testing.T) {
	r := start(t, t.TempDir())
	data := []string{"--data", r.data}
	do := func(args ...string) []string { return append(args, data...) }

	t.Run("OK create", func(t *testing.T) {
		var l client.Link
		wantJSON(t, &l, do("links", "create", "HTTPS://Go.dev/blog/", "--slug", "go-blog", "--title", "The Go blog",
			"--tag", "go", "--tag", "blog", "--expires", "24h", "--status", "307")...)
		expires, err := time.Parse(time.RFC3339, *l.ExpiresAt)
		if left := time.Until(expires); err != nil || left < 23*time.Hour || left > 24*time.Hour {
			t.Errorf("it expires at %s: %v", *l.ExpiresAt, err)
		}
		want := client.Link{Code: "go-blog", ShortURL: r.run.URL + "/go-blog", URL: "https://go.dev/blog/", Title: "The Go blog",
			Tags: []string{"blog", "go"}, RedirectStatus: 307, CreatedAt: l.CreatedAt, UpdatedAt: l.CreatedAt, ExpiresAt: l.ExpiresAt}
		if diff := cmp.Diff(want, l); diff != "" {
			t.Errorf("link (-want +got):\n%s", diff)
		}
	})
	t.Run("OK update changes what is given alone", func(t *testing.T) {
		var before, after client.Link
		wantJSON(t, &before, do("links", "get", "go-blog")...)
		wantJSON(t, &after, do("links", "update", "go-blog", "--no-expiry", "--disable", "--tag", "news")...)
		want := before
		want.ExpiresAt, want.Disabled, want.Tags, want.UpdatedAt = nil, true, []string{"news"}, after.UpdatedAt
		if diff := cmp.Diff(want, after); diff != "" {
			t.Errorf("link (-want +got):\n%s", diff)
		}
		wantJSON(t, &after, do("links", "update", "go-blog", "--enable", "--no-tags", "--status", "302", "--expires", "2040-01-01T00:00:00Z")...)
		if after.Disabled || len(after.Tags) != 0 || after.RedirectStatus != 302 || after.ExpiresAt == nil || after.Title != before.Title {
			t.Errorf("link is %+v", after)
		}
	})
	t.Run("OK list, page by page", func(t *testing.T) {
		for i := range 103 {
			if _, err := r.client().CreateLink(t.Context(), client.NewLink{URL: fmt.Sprintf("https://example.com/%d", i), Tags: []string{"many"}}); err != nil {
				t.Fatal(err)
			}
		}
		var page client.Page
		wantJSON(t, &page, do("links", "list", "--all", "--tag", "many")...)
		if len(page.Links) != 103 || page.Next != nil || page.Links[0].URL != "https://example.com/102" {
			t.Errorf("%d links, next %v", len(page.Links), page.Next)
		}
		wantJSON(t, &page, do("links", "list", "--limit", "101")...)
		if len(page.Links) != 101 || page.Next == nil {
			t.Errorf("%d links, next %v", len(page.Links), page.Next)
		}
		wantJSON(t, &page, do("links", "list", "--text", "GO.DEV")...)
		if len(page.Links) != 1 || page.Links[0].Code != "go-blog" {
			t.Errorf("links are %+v", page.Links)
		}
		table := want(t, 0, do("links", "list", "--text", "go.dev")...).stdout
		if lines := strings.Split(strings.TrimSpace(table), "\n"); len(lines) != 2 || !strings.HasPrefix(lines[0], "CODE ") || !strings.HasPrefix(lines[1], "go-blog ") {
			t.Errorf("table is\n%s", table)
		}
	})
	t.Run("OK all three outputs", func(t *testing.T) {
		var asJSON, asYAML client.Link
		wantJSON(t, &asJSON, do("links", "get", "go-blog")...)
		if err := yaml.Unmarshal([]byte(want(t, 0, do("links", "get", "go-blog", "-o", "yaml")...).stdout), &asYAML); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(asJSON, asYAML); diff != "" {
			t.Errorf("JSON and YAML (-json +yaml):\n%s", diff)
		}
		if table := want(t, 0, do("links", "get", "go-blog")...).stdout; !strings.Contains(table, asJSON.ShortURL) || !strings.Contains(table, "The Go blog") {
			t.Errorf("table is\n%s", table)
		}
	})
	t.Run("OK delete several", func(t *testing.T) {
		r.create("one-more")
		if text := want(t, 0, do("links", "delete", "go-blog", "one-more")...).stdout; text != "deleted go-blog, one-more\n" {
			t.Errorf("it prints %q", text)
		}
		want(t, 3, do("links", "get", "go-blog")...)
	})

	r.create("taken")
	for name, c := range map[string]struct {
		code  int
		tells string
		args  []string
	}{
		"ErrSlugTaken":    {6, `slug "taken" is taken`, do("links", "create", "https://go.dev", "--slug", "taken")},
		"ErrURL":          {2, "url must begin with http", do("links", "create", "ftp://go.dev")},
		"ErrExpires":      {2, "--expires", do("links", "create", "https://go.dev", "--expires", "soon")},
		"ErrNoExpiry":     {2, "--expires", do("links", "create", "https://go.dev", "--expires", "")},
		"ErrStatus":       {2, "301, 302, 307", do("links", "create", "https://go.dev", "--status", "303")},
		"ErrStatus0":      {2, "301, 302, 307", do("links", "create", "https://go.dev", "--status", "0")},
		"ErrTop0":         {2, "1 to 200", do("stats", "go-blog", "--top", "0")},
		"ErrPast":         {2, "expires_at", do("links", "create", "https://go.dev", "--expires", "2001-01-01T00:00:00Z")},
		"ErrNotFound":     {3, `"nothing-there"`, do("links", "get", "nothing-there")},
		"ErrDot":          {3, `"."`, do("links", "get", ".")},
		"ErrEmptyCode":    {3, `""`, do("links", "get", "")},
		"ErrPath":         {3, `"../links/taken"`, do("links", "delete", "../links/taken")},
		"ErrDotStats":     {3, `"."`, do("stats", ".")},
		"ErrDataIsFile":   {1, "main.go", []string{"up", "--data", "main.go"}},
		"ErrNoChange":     {2, "nothing to change", do("links", "update", "taken")},
		"ErrBoth":         {2, "--disable and --enable", do("links", "update", "taken", "--disable", "--enable")},
		"ErrNoCode":       {2, "CODE", do("links", "get")},
		"ErrWrongKey":     {4, "--api-key", do("links", "list", "--api-key", "lt_wrong")},
		"ErrNoServer":     {5, "127.0.0.1:1 does not answer", do("links", "list", "--server", "http://127.0.0.1:1")},
		"ErrServer":       {2, "not the URL", do("links", "list", "--server", "nowhere")},
		"ErrOutput":       {2, "table, json, yaml", do("links", "list", "--output", "xml")},
		"ErrFlag":         {2, "--nope", do("links", "list", "--nope")},
		"ErrCommand":      {2, "did you mean list", do("links", "lst")},
		"ErrStats":        {3, `"nothing-there"`, do("stats", "nothing-there")},
		"ErrInterval":     {2, "interval", do("stats", "taken", "--interval", "week")},
		"ErrNotRunning":   {2, "linktrail up", []string{"links", "list", "--data", t.TempDir()}},
		"ErrNoTraces":     {2, "--jaeger", []string{"trace", strings.Repeat("a", 32), "--data", t.TempDir()}},
		"ErrTraceID":      {2, "not a trace id", do("trace", "zzz")},
		"ErrTrace":        {3, "not found", do("trace", strings.Repeat("a", 32), "--wait", "0s")},
		"ErrTraceNeither": {2, "TRACE_ID or --last", do("trace")},
		"ErrNoClicks":     {3, "nobody has clicked taken", do("trace", "--last", "taken", "--wait", "0s")},
		"ErrJaegerAway":   {5, "Jaeger at http://127.0.0.1:1", do("trace", strings.Repeat("a", 32), "--jaeger", "http://127.0.0.1:1")},
		"ErrJaeger":       {2, "--jaeger", do("up", "--jaeger", "http://localhost:16686")},
		"ErrKafka":        {2, "--kafka", do("up", "--kafka", "nowhere")},
		"ErrDriver":       {2, "kgo, kq", do("up", "--driver", "sarama")},
		"ErrUpArgument":   {2, "takes no arguments", do("up", "everything")},
	} {
		t.Run(name, func(t *testing.T) {
			if text := want(t, c.code, c.args...).stderr; !strings.Contains(text, c.tells) {
				t.Errorf("it does not tell %q: %s", c.tells, text)
			}
		})
	}
}

// TestEnvironment names the server by variables, in a folder where nothing runs.
func TestEnvironment(t *testing.T) {
	r := start(t, t.TempDir())
	code := r.create("")
	server, key := "LINKTRAIL_SERVER="+r.run.API, "LINKTRAIL_API_KEY="+r.run.APIKey
	dir := t.TempDir()
	if got := linktrailIn(t, dir, []string{server, key}, "links", "get", code); got.code != 0 {
		t.Errorf("exit code %d: %s", got.code, got.stderr)
	}
	if got := linktrailIn(t, dir, []string{server}, "links", "get", code); got.code != 4 {
		t.Errorf("without a key: exit code %d: %s", got.code, got.stderr)
	}
	// The local key goes to its own server alone.
	if got := linktrailIn(t, dir, []string{server}, "links", "get", code, "--data", r.data); got.code != 0 {
		t.Errorf("its own server by name: exit code %d: %s", got.code, got.stderr)
	}
	other := "LINKTRAIL_SERVER=" + strings.Replace(r.run.API, "127.0.0.1", "localhost", 1)
	if got := linktrailIn(t, dir, []string{other}, "links", "get", code, "--data", r.data); got.code != 4 {
		t.Errorf("with another server's key: exit code %d: %s", got.code, got.stderr)
	}
	id := r.click(code)
	if got := linktrailIn(t, dir, []string{"LINKTRAIL_SPANS=" + filepath.Join(r.data, "traces")}, "trace", id); got.code != 0 || !strings.Contains(got.stdout, "GET /{code}") {
		t.Errorf("trace: exit code %d:\n%s%s", got.code, got.stdout, got.stderr)
	}
}

func TestStats(t *testing.T) {
	r := start(t, t.TempDir())
	code := r.create("")
	for range 3 {
		r.click(code)
	}
	r.wantClicks(code, 3)
	var s client.Stats
	wantJSON(t, &s, "stats", code, "--data", r.data, "--interval", "day", "--tz", "Europe/Berlin")
	if s.Clicks != 3 || s.Bots != 0 || s.Interval != "day" || s.TZ != "Europe/Berlin" {
		t.Errorf("statistics are %+v", s)
	}
	if diff := cmp.Diff([]client.Count{{Value: "Firefox", Clicks: 3}}, s.Browsers); diff != "" {
		t.Errorf("browsers (-want +got):\n%s", diff)
	}
	table := want(t, 0, "stats", code, "--data", r.data).stdout
	for _, piece := range []string{"3 clicks, and 0 clicks of bots", "HOUR", "BROWSER", "Firefox", "Linux", "desktop", "████"} {
		if !strings.Contains(table, piece) {
			t.Errorf("the table has no %q:\n%s", piece, table)
		}
	}
}

func TestTraceJSON(t *testing.T) {
	r := start(t, t.TempDir())
	id := r.click(r.create("shape"))
	var trace map[string]any
	wantJSON(t, &trace, "trace", id, "--data", r.data, "--wait", "60s")
	spans := trace["spans"].([]any)
	if trace["trace_id"] != id || len(spans) < 4 || len(trace) != 2 {
		t.Fatalf("the trace is %v", trace)
	}
	var keys []string
	for _, key := range []string{"service", "name", "kind", "span_id", "parent_id", "links", "start", "duration_us", "attributes"} {
		if _, ok := spans[0].(map[string]any)[key]; !ok {
			keys = append(keys, key)
		}
	}
	if len(keys) > 0 {
		t.Errorf("a span lacks %v: %v", keys, spans[0])
	}
	r.stop()
	var later tracequery.Trace // the files are still there
	wantJSON(t, &later, "trace", id, "--data", r.data)
	if len(later.Spans) != len(spans) {
		t.Errorf("%d spans after the stop, %d before", len(later.Spans), len(spans))
	}
}

func TestMigrateAndKeys(t *testing.T) {
	dsn := "sqlite:" + filepath.Join(t.TempDir(), "own", "links.db")
	store := func(args ...string) []string { return append(args, "--store", dsn) }

	if text := want(t, 1, store("keys", "list")...).stderr; !strings.Contains(text, "linktrail migrate") {
		t.Errorf("it does not say what to type: %s", text)
	}
	token := "lt_" + strings.Repeat("k", 12) + "_" + strings.Repeat("s", 43)
	file := filepath.Join(t.TempDir(), "key")
	MustWrite(t, file, token+"\n")
	for range 2 { // again changes nothing
		if text := want(t, 0, store("migrate", "--admin-key-file", file)...).stdout; !strings.Contains(text, "the schema is at version") || strings.Contains(text, token) {
			t.Errorf("it prints %s", text)
		}
	}
	type key struct {
		ID        string
		Name      string
		Scopes    []apikey.Scope
		Token     string
		RevokedAt *time.Time `json:"revoked_at"`
	}
	var made key
	wantJSON(t, &made, store("keys", "create", "--name", "ci", "--scope", "links:read,stats:read")...)
	if !strings.HasPrefix(made.Token, "lt_"+made.ID+"_") || made.Name != "ci" {
		t.Errorf("it made %+v", made)
	}
	plain := want(t, 0, store("keys", "create")...)
	if !strings.HasPrefix(plain.stdout, "lt_") || strings.Count(plain.stdout, "\n") != 1 {
		t.Errorf("stdout is not the token alone: %q", plain.stdout)
	}
	want(t, 0, store("keys", "revoke", made.ID)...)
	var list struct{ Keys []key }
	wantJSON(t, &list, store("keys", "list")...)
	if len(list.Keys) != 3 || list.Keys[0].ID != strings.Repeat("k", 12) || list.Keys[1].ID != made.ID ||
		list.Keys[1].RevokedAt == nil || list.Keys[1].Token != "" || list.Keys[2].RevokedAt != nil {
		t.Errorf("keys are %+v", list.Keys)
	}
	for name, c := range map[string]struct {
		code  int
		tells string
		args  []string
	}{
		"ErrScope":   {2, "links:write", store("keys", "create", "--scope", "root")},
		"ErrName":    {2, "--name", store("keys", "create", "--name", " ")},
		"ErrRevoke":  {3, `"nobody"`, store("keys", "revoke", "nobody")},
		"ErrKeyFile": {2, "lt_<id>_<secret>", store("migrate", "--admin-key-file", dsn[len("sqlite:"):])},
		"ErrScheme":  {2, `"mysql"`, []string{"migrate", "--store", "mysql://root@localhost/x"}},
		"ErrAway":    {5, "connection refused", []string{"keys", "list", "--store", "postgres://u:p@127.0.0.1:1/x"}},
		"ErrNoStore": {2, "--store", []string{"keys", "list", "--data", filepath.Join(t.TempDir(), "none")}},
	} {
		t.Run(name, func(t *testing.T) {
			if text := want(t, c.code, c.args...).stderr; !strings.Contains(text, c.tells) {
				t.Errorf("it does not tell %q: %s", c.tells, text)
			}
		})
	}
}

func TestVersionAndHelp(t *testing.T) {
	var version struct{ Version, Revision, Go string }
	if err := json.Unmarshal([]byte(want(t, 0, "version", "-o", "json").stdout), &version); err != nil || version.Version == "" || version.Go == "" {
		t.Errorf("version is %+v: %v", version, err)
	}
	help := want(t, 0, "--help").stdout
	for _, piece := range []string{"Exit codes:", "Examples:", "completion", "links", "stats", "trace", "migrate", "keys", "up"} {
		if !strings.Contains(help, piece) {
			t.Errorf("the help has no %q", piece)
		}
	}
	if strings.Contains(help, "Run one service in this process") {
		t.Error("the help shows the hidden command")
	}
	for _, command := range [][]string{{"up"}, {"links"}, {"links", "create"}, {"links", "list"}, {"links", "get"}, {"links", "update"},
		{"links", "delete"}, {"stats"}, {"trace"}, {"watch"}, {"doctor"}, {"migrate"}, {"keys"}, {"keys", "create"}, {"keys", "list"}, {"keys", "revoke"}, {"version"},
		{"telemetry"}, {"telemetry", "show"}, {"telemetry", "set"}, {"telemetry", "reset"}} {
		if text := want(t, 0, append(command, "--help")...).stdout; !strings.Contains(text, "Examples:\n  linktrail "+command[0]) {
			t.Errorf("linktrail %s --help has no example:\n%s", strings.Join(command, " "), text)
		} else {
			_, flags, _ := strings.Cut(text, "\nFlags:\n")
			for _, line := range regexp.MustCompile(`(?m)^ +(-\w, )?--.*$`).FindAllString(flags, -1) {
				if !regexp.MustCompile(`^ +(-\w, )?--[a-z-]+( [A-Za-z]+)? {2,}`).MatchString(line) {
					t.Errorf("linktrail %s --help: a flag's value has a name of several words:\n%s", strings.Join(command, " "), line)
				}
			}
		}
	}
	for _, shell := range []string{"bash", "zsh", "fish"} {
		if script := want(t, 0, "completion", shell).stdout; !strings.Contains(script, "linktrail") {
			t.Errorf("completion %s prints no script", shell)
		}
	}
	const noFiles = "\n:4\n"
	for typed, offers := range map[string]string{
		"links create --status": "301\n302\n307\n308" + noFiles,
		"stats --interval":      "hour\nday\nmonth" + noFiles,
		"keys create --scope":   "links:read\nlinks:write\nstats:read" + noFiles,
		"links get --output":    "table\njson\nyaml" + noFiles,
		"up --driver":           "kgo\nkq" + noFiles,
		"links":                 "create\tMake a short link\ndelete\tDelete links\n",
		"stats":                 ":4\n",
		"migrate --config":      ":0\n",
	} {
		if got := linktrail(t, append(append([]string{"__complete"}, strings.Fields(typed)...), "")...).stdout; !strings.HasPrefix(got, offers) {
			t.Errorf("after %q a shell offers %q", typed, got)
		}
	}
}

// TestOutputIsEmpty checks that nothing but data goes to stdout: scripts pipe it.
func TestOutputIsEmpty(t *testing.T) {
	got := linktrailIn(t, t.TempDir(), nil, "links", "list", "-o", "json")
	if got.stdout != "" || got.code != 2 {
		t.Errorf("stdout %q, exit code %d", got.stdout, got.code)
	}
	if _, err := os.Stat("data"); !os.IsNotExist(err) {
		t.Errorf("a command that only reads made a folder: %v", err)
	}
}
