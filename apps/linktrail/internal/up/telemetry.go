package up

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/linktrail/linktrail/internal/telemetry"
)

// OverlayDir is the folder of the telemetry overlay that all services of DATA follow.
func OverlayDir(data string) string { return filepath.Join(data, "telemetry") }

// Services are the names of the services, in the order in which a click meets them, and analytics-rpc last.
func Services() []string { return []string{URLAPI, AnalyticsConsumer, AnalyticsRPC} }

// TelemetryBlocks are the services' own Telemetry blocks as the last start on DATA has written them, by service; without
// a start, what the first one would write.
func TelemetryBlocks(data string) (map[string]telemetry.Config, error) {
	blocks := make(map[string]telemetry.Config)
	for _, service := range Services() {
		file := filepath.Join(data, "etc", service+".yaml")
		content, err := os.ReadFile(file)
		if errors.Is(err, fs.ErrNotExist) {
			c := telemetry.Default()
			c.Name, c.Batcher, c.Endpoint = service, telemetry.BatcherFile, filepath.Join(data, "traces", service+".jsonl")
			blocks[service] = c
			continue
		}
		if err != nil {
			return nil, err
		}
		c, err := telemetry.Parse([]byte(strings.ReplaceAll(string(content), "${"+dollar+"}", "$")))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		blocks[service] = c
	}
	return blocks, nil
}
