package main

import (
	"encoding/json"
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/linktrail/linktrail/hack/testenv"
	"github.com/linktrail/linktrail/internal/store"
	"github.com/linktrail/linktrail/internal/store/storetest"
)

// verified is what `clicks verify` prints.
type verified struct {
	OK             bool
	Links, Clicks  int64
	Differences    int64
	DifferentHours int64 `json:"different_hours"`
	Shown          []struct {
		What, Dimension, Value string
		Clicks, Rollups        int64
	}
	Kafka *struct {
		Topic         string
		Partitions    []struct{ First, End, Committed int64 }
		Waiting, Lost int64
		Records       *struct {
			Read, Undecodable, Missing int64
			DeadLetters                int64 `json:"dead_letters"`
			Shown                      []struct {
				Partition, Offset int64
				TraceID           string `json:"trace_id"`
			}
		}
	}
}

// verify runs `clicks verify`, which must end with an exit code.
func verify(t *testing.T, code int, args ...string) (v verified) {
	t.Helper()
	r := want(t, code, append([]string{"clicks", "verify", "--output", "json"}, args...)...)
	if err := json.Unmarshal([]byte(r.stdout), &v); err != nil || v.OK != (code == 0) {
		t.Fatalf("it prints %v: %s", err, r.stdout)
	}
	return v
}

func TestClicks(t *testing.T) {
	r := start(t, t.TempDir())
	c := store.Config{DSN: "sqlite:" + filepath.Join(r.data, "linktrail.db")}
	config := []string{"--config", filepath.Join(r.data, "etc", "analytics-consumer.yaml"), "--records"}
	data := []string{"--data", r.data}
	for slug, n := range map[string]int64{"one": 3, "two": 2} {
		r.create(slug)
		for range n {
			r.click(slug)
		}
		r.wantClicks(slug, n)
	}

	t.Run("OK all agree", func(t *testing.T) {
		eventually(t, "offsets are committed", func() error {
			if v := verify(t, 0, config...); v.Kafka.Waiting > 0 {
				return errors.New("records are waiting")
			}
			return nil
		})
		v := verify(t, 0, config...)
		if v.Links != 2 || v.Clicks != 5 || v.Kafka.Lost != 0 || v.Kafka.Records.Read != 5 || v.Kafka.Records.Missing != 0 || v.Kafka.Topic != "click-events" {
			t.Errorf("got %+v, %+v", v, v.Kafka)
		}
		if text := want(t, 0, append([]string{"clicks", "verify"}, data...)...).stdout; text != "5 clicks of 2 links in 1 hours: 0 counts differ\n" &&
			!strings.HasSuffix(text, "0 counts differ\n") {
			t.Errorf("it prints %q", text)
		}
	})
	t.Run("OK a difference is found and mended", func(t *testing.T) {
		storetest.MustDamage(t, c, `UPDATE click_rollups SET clicks = clicks + 4 WHERE dimension = 'browser' AND value = 'Firefox' AND link_id = 1`)
		v := verify(t, 8, data...)
		if v.Differences == 0 || v.Shown[0].What != "value" || v.Shown[0].Value != "Firefox" || v.Shown[0].Rollups != v.Shown[0].Clicks+4 {
			t.Errorf("got %+v", v)
		}
		if text := want(t, 8, append([]string{"clicks", "verify"}, data...)...); !strings.Contains(text.stdout, "Firefox") || !strings.Contains(text.stderr, "linktrail clicks rebuild") {
			t.Errorf("it prints %s%s", text.stdout, text.stderr)
		}
		var rebuilt struct {
			Rebuilt int64 `json:"rebuilt_hours"`
		}
		wantJSON(t, &rebuilt, append([]string{"clicks", "rebuild"}, data...)...)
		if rebuilt.Rebuilt != v.DifferentHours {
			t.Errorf("%d hours were rebuilt, %d differed", rebuilt.Rebuilt, v.DifferentHours)
		}
		verify(t, 0, data...)
	})
	t.Run("OK a click that was lost is found by its record", func(t *testing.T) {
		storetest.MustDamage(t, c, `DELETE FROM clicks WHERE code = 'two'`)
		want(t, 0, append([]string{"clicks", "rebuild"}, data...)...)
		verify(t, 0, data...)
		v := verify(t, 8, config...)
		if v.Differences != 0 || v.Kafka.Records.Missing != 2 || len(v.Kafka.Records.Shown) != 2 || len(v.Kafka.Records.Shown[0].TraceID) != 32 {
			t.Errorf("got %+v, %+v", v, v.Kafka.Records)
		}
	})
	t.Run("OK purged clicks are not missed", func(t *testing.T) {
		if text := want(t, 0, append([]string{"links", "delete", "two", "--purge"}, data...)...).stdout; !strings.Contains(text, "with their clicks: two") {
			t.Errorf("it prints %q", text)
		}
		if v := verify(t, 0, config...); v.Kafka.Records.Read != 5 || v.Links != 1 {
			t.Errorf("got %+v", v)
		}
		want(t, 3, append([]string{"links", "delete", "two", "--purge"}, data...)...)
		want(t, 2, append([]string{"clicks", "purge", "one"}, data...)...)
		want(t, 0, append([]string{"links", "delete", "one"}, data...)...)
		verify(t, 0, config...)
		var purged struct{ Links, Clicks int64 }
		wantJSON(t, &purged, append([]string{"clicks", "purge", "one"}, data...)...)
		if purged.Links != 1 {
			t.Errorf("got %+v", purged)
		}
		if v := verify(t, 0, config...); v.Clicks != 0 || v.Kafka.Records.Missing != 0 {
			t.Errorf("got %+v", v)
		}
		if done := want(t, 0, append([]string{"clicks", "purge", "one"}, data...)...); !strings.Contains(done.stderr, "no deleted link with the code one is left to purge") {
			t.Errorf("it prints %s%s", done.stdout, done.stderr)
		}
	})
	t.Run("OK a deleted link without a click is purged too", func(t *testing.T) {
		r.create("three")
		want(t, 0, append([]string{"links", "delete", "three"}, data...)...)
		if text := want(t, 0, append([]string{"clicks", "purge", "three"}, data...)...).stdout; text != "purged 1 links, removed 0 clicks\n" {
			t.Errorf("it prints %q", text)
		}
	})
}

// TestRetain works on a store of each kind without services.
func TestRetain(t *testing.T) {
	for name, dsn := range map[string]string{"postgres": testenv.Postgres(t), "sqlite": "sqlite:" + filepath.Join(t.TempDir(), "linktrail.db")} {
		t.Run(name, func(t *testing.T) {
			want(t, 0, "migrate", "--store", dsn)
			if text := want(t, 0, "clicks", "retain", "--months", "3", "--store", dsn, "--dry-run").stdout; !strings.Contains(text, "nothing to remove") {
				t.Errorf("it prints %q", text)
			}
			var done struct {
				KeptFrom string `json:"kept_from"`
				Removed  []any
			}
			wantJSON(t, &done, "clicks", "retain", "--months", "3", "--store", dsn)
			if !strings.HasSuffix(done.KeptFrom, "-01T00:00:00Z") || len(done.Removed) != 0 {
				t.Errorf("got %+v", done)
			}
			for tells, args := range map[string][]string{
				"--months: 0 is not allowed":  {"retain"},
				"--months: -1 is not allowed": {"retain", "--months", "-1"},
				"removed by the retention":    {"rebuild", "--from", "2001-01-01"},
				"is not after --from":         {"verify", "--from", "2026-02-01", "--to", "2026-02-01"},
				"neither a time of RFC 3339":  {"verify", "--from", "yesterday"},
				"--records go with --kafka":   {"verify", "--records"},
				"--limit: -1 is negative":     {"verify", "--limit", "-1"},
				"--after-link: -1 is not":     {"rebuild", "--after-link", "-1"},
				`"nowhere" is not allowed`:    {"verify", "--kafka", "nowhere"},
			} {
				if text := want(t, 2, append([]string{"clicks", "--store", dsn}, args...)...).stderr; !strings.Contains(text, tells) {
					t.Errorf("%v does not tell %q: %s", args, tells, text)
				}
			}
			want(t, 3, "clicks", "verify", "--store", dsn, "--code", "nothing")
			want(t, 5, "clicks", "verify", "--store", dsn, "--kafka", "127.0.0.1:1")
		})
	}
}
