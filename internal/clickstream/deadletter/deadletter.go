// Package deadletter reads the topic of dead letters, sends letters back to the topic that they came from, and drops them.
//
// Kafka cannot take a record out of the middle of a topic. So a letter that was retried or dropped is followed by a mark,
// a record in its own partition that names it; whoever reads the topic passes over marked letters. The letter itself stays
// in Kafka until the topic's retention removes it, and the mark, which is younger, after it. Any driver's letters are
// read, always by franz-go.
package deadletter

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	franz "github.com/twmb/franz-go/pkg/kgo"

	"github.com/linktrail/linktrail/internal/clickstream"
	"github.com/linktrail/linktrail/internal/clickstream/kgo"
)

// HeaderMark is the header of a mark: what became of the letters whose offsets are its value, with blanks between.
const HeaderMark = kgo.HeaderPrefix + "mark"

// What became of marked letters.
const (
	retried = "retried"
	dropped = "dropped"
)

// A Place is where a record lies.
type Place struct {
	Partition int32
	Offset    int64
}

// ParsePlace reads PARTITION:OFFSET.
func ParsePlace(text string) (Place, error) {
	partition, offset, _ := strings.Cut(text, ":")
	p, err := strconv.ParseInt(partition, 10, 32)
	o, err2 := strconv.ParseInt(offset, 10, 64)
	if err != nil || err2 != nil || p < 0 || o < 0 {
		return Place{}, fmt.Errorf("%q is no place of a dead letter, which is PARTITION:OFFSET as in 0:42", text)
	}
	return Place{int32(p), o}, nil
}

// String is PARTITION:OFFSET.
func (p Place) String() string { return fmt.Sprintf("%d:%d", p.Partition, p.Offset) }

// A Letter is a dead letter that was neither retried nor dropped.
type Letter struct {
	Place
	// Time is when it became one.
	Time time.Time
	// Reason begins with its kind, as in "undecodable: …".
	Reason string
	// Origin is where the record lay in the topic of clicks; nil when that is not known.
	Origin *Place
	// Headers and Value are the record's.
	Headers []franz.RecordHeader
	Value   []byte
	// Bytes is how long the record's value was. Cut says that the record was too large for the topic: Value is the
	// beginning of its value, or headers are missing.
	Bytes int
	Cut   bool
}

// ErrNoTopic says that there is no topic of dead letters.
var ErrNoTopic = errors.New("there is no such topic")

// How long the brokers may take: to say how far the topic goes, to send the next records, to acknowledge one.
const (
	listTimeout    = 15 * time.Second
	readTimeout    = 30 * time.Second
	deliverTimeout = 30 * time.Second
)

// Box is the topic of dead letters. Not safe for concurrent use.
type Box struct {
	config clickstream.Config
	topic  string
	client *franz.Client
	admin  *kadm.Client
}

// Open makes a Box of the dead letters of c.Topic, which must be closed. It waits for no broker.
func Open(c clickstream.Config) (*Box, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	topic := c.Topic + clickstream.DeadLetterSuffix
	client, err := kgo.Dial(c, kgo.DefaultClientID,
		franz.RecordPartitioner(franz.BasicConsistentPartitioner(func(to string) func(*franz.Record, int) int {
			if to == topic {
				return func(mark *franz.Record, _ int) int { return int(mark.Partition) }
			}
			return func(_ *franz.Record, partitions int) int { return rand.IntN(partitions) }
		})),
		franz.RequiredAcks(franz.AllISRAcks()),
		franz.ProducerLinger(0),
		franz.ProducerBatchCompression(franz.SnappyCompression()),
		franz.RecordDeliveryTimeout(deliverTimeout),
	)
	if err != nil {
		return nil, err
	}
	return &Box{config: c, topic: topic, client: client, admin: kadm.NewClient(client)}, nil
}

// Close lets go of the connections.
func (b *Box) Close() { b.client.Close() }

// Topic is the topic's name.
func (b *Box) Topic() string { return b.topic }

// Each calls f with each letter that was there when it began, in the order of each partition, until f returns an error, and
// returns that. It reads the topic twice: marks lie behind what they mark.
func (b *Box) Each(ctx context.Context, f func(Letter) error) error {
	ends, err := b.offsets(ctx, b.admin.ListEndOffsets)
	if err != nil {
		return err
	}
	marked := make(map[Place]bool)
	err = b.read(ctx, ends, func(r *franz.Record) error {
		if _, ok := header(r, HeaderMark); ok {
			for offset := range strings.FieldsSeq(string(r.Value)) {
				if n, err := strconv.ParseInt(offset, 10, 64); err == nil {
					marked[Place{r.Partition, n}] = true
				}
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return b.read(ctx, ends, func(r *franz.Record) error {
		if _, ok := header(r, HeaderMark); ok || marked[Place{r.Partition, r.Offset}] {
			return nil
		}
		return f(letter(r))
	})
}

func (b *Box) offsets(ctx context.Context, list func(context.Context, ...string) (kadm.ListedOffsets, error)) (map[int32]int64, error) {
	limited, cancel := context.WithTimeout(ctx, listTimeout)
	defer cancel()
	listed, err := list(limited, b.topic)
	if err == nil {
		err = listed.Error()
	}
	if errors.Is(err, kerr.UnknownTopicOrPartition) {
		err = ErrNoTopic
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", b.topic, err)
	}
	offsets := make(map[int32]int64)
	for _, o := range listed[b.topic] {
		offsets[o.Partition] = o.Offset
	}
	return offsets, nil
}

// read calls f with all records before ends.
func (b *Box) read(ctx context.Context, ends map[int32]int64, f func(*franz.Record) error) error {
	next, err := b.offsets(ctx, b.admin.ListStartOffsets)
	if err != nil {
		return err
	}
	from := make(map[int32]franz.Offset)
	for partition, offset := range next {
		if offset < ends[partition] {
			from[partition] = franz.NewOffset().At(offset)
		}
	}
	if len(from) == 0 {
		return nil
	}
	client, err := kgo.Dial(b.config, kgo.DefaultClientID,
		franz.ConsumePartitions(map[string]map[int32]franz.Offset{b.topic: from}),
		franz.KeepControlRecords()) // the last record may be one
	if err != nil {
		return err
	}
	defer client.Close()
	for len(from) > 0 {
		fetches, err := poll(ctx, client)
		if err != nil {
			return fmt.Errorf("%s: %w", b.topic, err)
		}
		for _, r := range fetches.Records() {
			if r.Offset+1 >= ends[r.Partition] {
				delete(from, r.Partition)
			}
			if r.Offset >= ends[r.Partition] || r.Attrs.IsControl() {
				continue
			}
			if err := f(r); err != nil {
				return err
			}
		}
		if fetches.Empty() { // it may be that retention has removed what was there
			if next, err = b.offsets(ctx, b.admin.ListStartOffsets); err != nil {
				return err
			}
			for partition := range from {
				if next[partition] >= ends[partition] {
					delete(from, partition)
				}
			}
			if len(from) > 0 {
				return fmt.Errorf("%s: no record has come for %v: %w", b.topic, readTimeout, context.DeadlineExceeded)
			}
		}
	}
	return nil
}

func poll(ctx context.Context, client *franz.Client) (franz.Fetches, error) {
	limited, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	fetches := client.PollFetches(limited)
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if err := fetches.Err(); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return nil, err
	}
	return fetches, nil
}

func letter(r *franz.Record) Letter {
	l := Letter{Place: Place{r.Partition, r.Offset}, Time: r.Timestamp, Value: r.Value, Bytes: len(r.Value)}
	l.Reason, _ = header(r, kgo.HeaderReason)
	partition, _ := header(r, kgo.HeaderPartition)
	offset, _ := header(r, kgo.HeaderOffset)
	if origin, err := ParsePlace(partition + ":" + offset); err == nil {
		l.Origin = &origin
	}
	if cut, ok := header(r, kgo.HeaderCut); ok {
		l.Cut = true
		if n, err := strconv.Atoi(cut); err == nil {
			l.Bytes = n
		}
	}
	for _, h := range r.Headers {
		if !strings.HasPrefix(h.Key, kgo.HeaderPrefix) {
			l.Headers = append(l.Headers, h)
		}
	}
	return l
}

// header is a header's last value, which is ours where the record had one of the same name.
func header(r *franz.Record, key string) (string, bool) {
	for _, h := range slices.Backward(r.Headers) {
		if h.Key == key {
			return string(h.Value), true
		}
	}
	return "", false
}

// Retry sends letters back to the topic of clicks, with the headers and the value that they had there, and marks those
// that all in-sync replicas have. It returns how many these are; letters that were cut are left out. Who is interrupted between the two finds the letter
// again, so a record is sent at least once; a click has an id, and is counted once all the same. ctx ends the sending,
// not the marking.
func (b *Box) Retry(ctx context.Context, letters []Letter) (int, error) {
	var records []*franz.Record
	places := make(map[*franz.Record]Place)
	for _, l := range letters {
		if !l.Cut {
			r := &franz.Record{Topic: b.config.Topic, Headers: l.Headers, Value: l.Value}
			records, places[r] = append(records, r), l.Place
		}
	}
	var sent []Place
	var failed error
	for _, result := range b.client.ProduceSync(ctx, records...) {
		if result.Err == nil {
			sent = append(sent, places[result.Record])
		} else if failed == nil {
			failed = fmt.Errorf("send %v back to %s: %w", places[result.Record], b.config.Topic, result.Err)
		}
	}
	if err := b.mark(ctx, sent, retried); err != nil {
		return len(sent), err
	}
	return len(sent), failed
}

// Drop marks letters, so that nobody finds them again.
func (b *Box) Drop(ctx context.Context, letters []Letter) error {
	places := make([]Place, len(letters))
	for i, l := range letters {
		places[i] = l.Place
	}
	return b.mark(ctx, places, dropped)
}

// maxMarked is how many letters a mark names: few enough for any topic's largest record.
const maxMarked = 1000

func (b *Box) mark(ctx context.Context, places []Place, what string) error {
	byPartition := make(map[int32][]string)
	for _, p := range places {
		byPartition[p.Partition] = append(byPartition[p.Partition], strconv.FormatInt(p.Offset, 10))
	}
	var marks []*franz.Record
	for partition, offsets := range byPartition {
		for some := range slices.Chunk(offsets, maxMarked) {
			marks = append(marks, &franz.Record{
				Topic: b.topic, Partition: partition, Value: []byte(strings.Join(some, " ")),
				Headers: []franz.RecordHeader{{Key: HeaderMark, Value: []byte(what)}},
			})
		}
	}
	if err := b.client.ProduceSync(context.WithoutCancel(ctx), marks...).FirstErr(); err != nil {
		return fmt.Errorf("note in %s what was %s: %w", b.topic, what, err)
	}
	return nil
}
