package kgo

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/twmb/franz-go/pkg/kerr"
	franz "github.com/twmb/franz-go/pkg/kgo"

	"github.com/linktrail/linktrail/internal/clickstream"
)

// The headers of a dead letter, after those that the record had. Who writes records must not use their prefix.
const (
	HeaderPrefix    = "linktrail-"
	HeaderReason    = "linktrail-reason"
	HeaderTopic     = "linktrail-topic"
	HeaderPartition = "linktrail-partition"
	HeaderOffset    = "linktrail-offset"
	// HeaderCut is there when the value was too large for the topic: its length before it was cut.
	HeaderCut = "linktrail-cut"
)

// maxCut is how much is kept of a value that is too large. A topic that takes less than that takes no clicks either.
const maxCut = 64 << 10

// DeadLetters writes records that can never be handled to the topic's dead letters. Safe for concurrent use.
type DeadLetters struct {
	client *franz.Client
}

// NewDeadLetters makes a DeadLetters. It waits for no broker.
func NewDeadLetters(c clickstream.Config, o Options) (*DeadLetters, error) {
	client, err := Dial(c, o.clientID(),
		franz.DefaultProduceTopic(c.Topic+clickstream.DeadLetterSuffix),
		franz.RequiredAcks(franz.AllISRAcks()),
		franz.ProducerLinger(0),
		franz.ProducerBatchCompression(franz.SnappyCompression()),
	)
	if err != nil {
		return nil, err
	}
	return &DeadLetters{client: client}, nil
}

// Send writes a record with its value and headers (its trace context, where its headers are not known), why it is there and
// where it was; the place is left out when it is not known. Of a value that is too large for the topic it keeps the
// beginning. It returns nil when all in-sync replicas have it. When ctx ends before that the record may be written all
// the same, and so twice when it is sent again.
func (d *DeadLetters) Send(ctx context.Context, r clickstream.Record, reason string) error {
	var headers []franz.RecordHeader
	if r.Headers == nil {
		headers = appendHeaders(headers, nil, r.Producer)
	}
	for _, h := range r.Headers {
		headers = append(headers, franz.RecordHeader(h))
	}
	headers = append(headers,
		franz.RecordHeader{Key: HeaderReason, Value: []byte(reason)},
		franz.RecordHeader{Key: HeaderTopic, Value: []byte(r.Topic)},
	)
	if r.Partition >= 0 {
		headers = append(headers,
			franz.RecordHeader{Key: HeaderPartition, Value: strconv.AppendInt(nil, int64(r.Partition), 10)},
			franz.RecordHeader{Key: HeaderOffset, Value: strconv.AppendInt(nil, r.Offset, 10)},
		)
	}
	err := d.write(ctx, &franz.Record{Value: r.Value, Headers: headers})
	if errors.Is(err, kerr.MessageTooLarge) && len(r.Value) > maxCut {
		// It would be too large for ever, and hold up all that comes after it.
		headers = append(headers, franz.RecordHeader{Key: HeaderCut, Value: strconv.AppendInt(nil, int64(len(r.Value)), 10)})
		err = d.write(ctx, &franz.Record{Value: r.Value[:maxCut], Headers: headers})
	}
	if err != nil {
		return fmt.Errorf("write a dead letter: %w", err)
	}
	return nil
}

func (d *DeadLetters) write(ctx context.Context, r *franz.Record) error {
	done := make(chan error, 1)
	// An idempotent record that is under way cannot be called back, so ctx ends the wait and not the record.
	d.client.TryProduce(context.Background(), r, func(_ *franz.Record, err error) { done <- err })
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Close waits until what Send left behind is written or ctx ends.
func (d *DeadLetters) Close(ctx context.Context) error {
	err := d.client.Flush(ctx)
	d.client.Close()
	return err
}
