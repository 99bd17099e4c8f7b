package kgo

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/twmb/franz-go/pkg/kerr"
	franz "github.com/twmb/franz-go/pkg/kgo"
	"go.opentelemetry.io/otel/trace"

	"github.com/linktrail/linktrail/internal/click"
	"github.com/linktrail/linktrail/internal/clickstream"
)

// The headers of a dead letter, after those that the record had. Who writes records must not use their prefix.
const (
	HeaderPrefix    = "linktrail-"
	HeaderReason    = "linktrail-reason"
	HeaderTopic     = "linktrail-topic"
	HeaderPartition = "linktrail-partition"
	HeaderOffset    = "linktrail-offset"
	// HeaderCut is there when the record was too large for the topic, so that not all of its value, or of its headers, is
	// kept: the length that its value had.
	HeaderCut = "linktrail-cut"
)

const (
	// maxCut is how much is kept of a value that is too large.
	maxCut = 64 << 10
	// minCut is how much of it is kept without headers. A topic that takes less than that takes no clicks either.
	minCut = click.MaxWire
)

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
// where it was; the place is left out when it is not known. Of a record that is too large for the topic it keeps the
// beginning of the value, and of its headers, where these are too large, traceparent alone. It returns nil when all in-sync
// replicas have it. When ctx ends before that the record may be written all the same, and so twice when it is sent again.
func (d *DeadLetters) Send(ctx context.Context, r clickstream.Record, reason string) error {
	var headers []franz.RecordHeader
	if r.Headers == nil {
		headers = appendHeaders(headers, nil, r.Producer)
	}
	for _, h := range r.Headers {
		headers = append(headers, franz.RecordHeader(h))
	}
	size := len(r.Value)
	for _, h := range headers {
		size += len(h.Key) + len(h.Value)
	}
	ours := []franz.RecordHeader{{Key: HeaderReason, Value: []byte(reason)}, {Key: HeaderTopic, Value: []byte(r.Topic)}}
	if r.Partition >= 0 {
		ours = append(ours,
			franz.RecordHeader{Key: HeaderPartition, Value: strconv.AppendInt(nil, int64(r.Partition), 10)},
			franz.RecordHeader{Key: HeaderOffset, Value: strconv.AppendInt(nil, r.Offset, 10)},
		)
	}
	headers = append(headers, ours...)
	err := d.write(ctx, &franz.Record{Value: r.Value, Headers: headers})
	// It would be too large for ever, and hold up all that comes after it. A small record may be refused for another's sake.
	cut := franz.RecordHeader{Key: HeaderCut, Value: strconv.AppendInt(nil, int64(len(r.Value)), 10)}
	if errors.Is(err, kerr.MessageTooLarge) && len(r.Value) > maxCut {
		err = d.write(ctx, &franz.Record{Value: r.Value[:maxCut], Headers: append(headers, cut)})
	}
	if errors.Is(err, kerr.MessageTooLarge) && size > maxCut {
		parent := appendHeaders(nil, nil, r.Producer.WithTraceState(trace.TraceState{}))
		value := r.Value[:min(len(r.Value), minCut)]
		err = d.write(ctx, &franz.Record{Value: value, Headers: append(append(parent, ours...), cut)})
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
