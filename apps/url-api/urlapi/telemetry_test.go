package urlapi_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/linktrail/linktrail/internal/telemetry"
)

// TestFollowSampled asks both doors with a trace that the caller says is sampled, while the ratio, which an overlay says,
// records none.
func TestFollowSampled(t *testing.T) {
	const (
		traceID = "0af7651916cd43dd8448eb211c80319c"
		parent  = "00-" + traceID + "-b7ad6b7169203331-01"
	)
	overlay := []byte("Telemetry: {Sampler: 0}\n")
	for name, tt := range map[string]struct {
		yaml            string
		joined, sampled bool
	}{
		"OK by default a trusted proxy decides":        {"", true, true},
		"OK the ratio decides, and the parent is kept": {"FollowSampled: false\n", true, false},
		"OK a stranger never decides":                  {"TrustedProxies: [none]\n", false, false},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, telemetry.OverlayFile), overlay, 0o600); err != nil {
				t.Fatal(err)
			}
			s := mustServe(t, fmt.Sprintf("TelemetryOverlay: %q\n%s", dir, tt.yaml))
			for _, url := range []string{s.door + "/nothing", s.api + "/api/v1/links"} {
				req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
				if err != nil {
					t.Fatal(err)
				}
				req.Header.Set("Traceparent", parent)
				req.Header.Set("Authorization", "Bearer "+s.tokens["all"])
				res, err := http.DefaultClient.Do(req)
				if err != nil {
					t.Fatal(err)
				}
				_ = res.Body.Close()
				parts := strings.Split(res.Header.Get("Traceparent"), "-")
				if len(parts) != 4 {
					t.Fatalf("%s answers with traceparent %q", url, parts)
				}
				if joined := parts[1] == traceID; joined != tt.joined {
					t.Errorf("%s answers in trace %s, the caller's: %t, want %t", url, parts[1], joined, tt.joined)
				}
				if sampled := parts[3] == "01"; sampled != tt.sampled {
					t.Errorf("%s answers with flags %s, want sampled %t", url, parts[3], tt.sampled)
				}
			}
			res, err := http.Get(s.ops + "/telemetry")
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = res.Body.Close() }()
			var status telemetry.Status
			if err := json.NewDecoder(res.Body).Decode(&status); err != nil {
				t.Fatal(err)
			}
			if status.Service != "url-api" || status.Hash != telemetry.OverlayHash(overlay, nil) || status.Sampler != 0 || status.Refused != nil {
				t.Errorf("/telemetry shows %+v", status)
			}
		})
	}
}
