package up

import (
	"context"
	"fmt"

	"github.com/linktrail/linktrail/internal/clickstream"
	"github.com/linktrail/linktrail/internal/clickstream/driver"
)

// makeTopics makes the topics on a real Kafka, where they are not there yet.
func makeTopics(ctx context.Context, stream clickstream.Config) error {
	if err := driver.MakeTopics(ctx, stream, partitions, -1); err != nil {
		return fmt.Errorf("make the topics: %w", err)
	}
	return nil
}
