package up

import (
	"encoding/json"
	"fmt"

	"github.com/zeromicro/go-zero/core/conf"

	"github.com/linktrail/linktrail/internal/clickstream"
	"github.com/linktrail/linktrail/internal/linkcache"
	"github.com/linktrail/linktrail/internal/telemetry"
)

// Dollar is the variable that stands for a dollar sign in the YAML that Run writes.
const Dollar = dollar

// RedisOf reads what --redis takes. Its error is an OptionError.
func RedisOf(given string) (c linkcache.RedisConfig, err error) {
	block, err := redisBlock(given)
	if err != nil {
		return c, err
	}
	return c, decode(block, &c)
}

// ExporterOf reads what --otlp takes. Its error is an OptionError.
func ExporterOf(given string) (telemetry.Config, error) {
	c := telemetry.Default()
	block, err := exporter(given)
	if err != nil {
		return c, err
	}
	return c, decode(block, &c)
}

// BrokersOf reads what --kafka takes. Its error is an OptionError.
func BrokersOf(given string) (c clickstream.Config, err error) {
	c = clickstream.Config{Brokers: splitList(given)}.WithDefaults()
	for _, broker := range c.Brokers {
		if !isHostPort(broker) {
			return c, wrong("--kafka %q is not host:port, several with commas between, such as localhost:9092", given)
		}
	}
	return c, nil
}

// decode fills a configuration in from a block as a service's YAML has it.
func decode(block map[string]any, into any) error {
	content, err := json.Marshal(block)
	if err != nil {
		return err
	}
	if err := conf.LoadFromJsonBytes(content, into); err != nil {
		return fmt.Errorf("settings: %w", err)
	}
	return nil
}
