// Package audit looks at the topic of clicks from beside it, without a part in its consumer group: how far the group has
// come, and whether all that it has committed is where it belongs.
package audit

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	franz "github.com/twmb/franz-go/pkg/kgo"

	"github.com/linktrail/linktrail/internal/click"
	"github.com/linktrail/linktrail/internal/clickstream"
	"github.com/linktrail/linktrail/internal/clickstream/kgo"
)

// A Partition is where a partition of the topic begins and ends, and how far the group has come.
type Partition struct {
	Partition int32 `json:"partition"`
	// First is the offset of the first record that the topic still has, End that of the next one to come.
	First int64 `json:"first"`
	End   int64 `json:"end"`
	// Committed is the offset that the group goes on from: all before are done. It is First where it has committed nothing.
	Committed int64 `json:"committed"`
	// Waiting is how many records are to be consumed.
	Waiting int64 `json:"waiting"`
	// Lost is how many records the topic dropped before the group had consumed them.
	Lost int64 `json:"lost"`
}

// Offsets returns the state of all partitions of the topic, in order.
func Offsets(ctx context.Context, c clickstream.Config) ([]Partition, error) {
	client, err := kgo.Dial(c, kgo.DefaultClientID)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	return offsets(ctx, kadm.NewClient(client), c)
}

func offsets(ctx context.Context, admin *kadm.Client, c clickstream.Config) ([]Partition, error) {
	// What is committed first: it can only grow meanwhile.
	committed, err := admin.FetchOffsets(ctx, c.Group)
	if err != nil && !errors.Is(err, kerr.GroupIDNotFound) {
		return nil, fmt.Errorf("offsets of the group %s: %w", c.Group, err)
	}
	first, err := admin.ListStartOffsets(ctx, c.Topic)
	if err == nil {
		err = first.Error()
	}
	if err != nil {
		return nil, fmt.Errorf("offsets of the topic %s: %w", c.Topic, err)
	}
	end, err := admin.ListEndOffsets(ctx, c.Topic)
	if err == nil {
		err = end.Error()
	}
	if err != nil {
		return nil, fmt.Errorf("offsets of the topic %s: %w", c.Topic, err)
	}
	all := make([]Partition, 0, len(first[c.Topic]))
	for n := range int32(len(first[c.Topic])) {
		start, _ := first.Lookup(c.Topic, n)
		stop, _ := end.Lookup(c.Topic, n)
		p := Partition{Partition: n, First: start.Offset, End: stop.Offset, Committed: start.Offset}
		if at, ok := committed.Lookup(c.Topic, n); ok && at.Err == nil && at.At >= 0 {
			p.Committed = at.At
		}
		p.Waiting = max(0, p.End-max(p.Committed, p.First))
		p.Lost = max(0, p.First-p.Committed)
		all = append(all, p)
	}
	return all, nil
}

// A Record is a click as it lies in the topic.
type Record struct {
	Partition int32
	Offset    int64
	Click     click.Click
}

// Read is what was read.
type Read struct {
	// Records is how many there were, Undecodable how many of them are no click: those belong among the dead letters.
	Records, Undecodable int64
}

// Records reads every record that the group has committed, as far as the topic still has it, and tells them in batches;
// between batches progress is told how many of how many were read. The memory is that of some batches.
func Records(ctx context.Context, c clickstream.Config, partitions []Partition, batch func([]Record) error, progress func(read, all int64)) (Read, error) {
	limits := make(map[int32]int64)
	from := make(map[int32]franz.Offset)
	var all int64
	for _, p := range partitions {
		if p.Committed > p.First {
			limits[p.Partition], from[p.Partition] = p.Committed, franz.NewOffset().At(p.First)
			all += p.Committed - p.First
		}
	}
	var read Read
	err := consume(ctx, c, c.Topic, from, limits, func(records []*franz.Record) error {
		clicks := make([]Record, 0, len(records))
		for _, r := range records {
			read.Records++
			one, err := click.Decode(r.Value)
			if err != nil {
				read.Undecodable++
				continue
			}
			clicks = append(clicks, Record{r.Partition, r.Offset, one})
		}
		if err := batch(clicks); err != nil {
			return err
		}
		progress(read.Records, all)
		return nil
	})
	return read, err
}

// DeadClicks returns the ids of the clicks among the dead letters, which is empty when there is no such topic.
func DeadClicks(ctx context.Context, c clickstream.Config) (map[uuid.UUID]bool, error) {
	client, err := kgo.Dial(c, kgo.DefaultClientID)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	letters := c
	letters.Topic += clickstream.DeadLetterSuffix
	partitions, err := offsets(ctx, kadm.NewClient(client), letters)
	if errors.Is(err, kerr.UnknownTopicOrPartition) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	limits := make(map[int32]int64)
	from := make(map[int32]franz.Offset)
	for _, p := range partitions {
		if p.End > p.First {
			limits[p.Partition], from[p.Partition] = p.End, franz.NewOffset().At(p.First)
		}
	}
	dead := make(map[uuid.UUID]bool)
	err = consume(ctx, letters, letters.Topic, from, limits, func(records []*franz.Record) error {
		for _, r := range records {
			if one, err := click.Decode(r.Value); err == nil {
				dead[one.ID] = true
			}
		}
		return nil
	})
	return dead, err
}

const (
	// batchRecords is how many records are told at once.
	batchRecords = 2000
	// patience is how long the brokers may take for the next of them.
	patience = 30 * time.Second
)

// consume reads partitions from their offsets up to their limits.
func consume(ctx context.Context, c clickstream.Config, topic string, from map[int32]franz.Offset, limits map[int32]int64, f func([]*franz.Record) error) error {
	if len(limits) == 0 {
		return nil
	}
	client, err := kgo.Dial(c, kgo.DefaultClientID, franz.ConsumePartitions(map[string]map[int32]franz.Offset{topic: from}),
		franz.FetchMaxBytes(16<<20), franz.FetchMaxPartitionBytes(1<<20))
	if err != nil {
		return err
	}
	defer client.Close()
	left := make(map[int32]int64, len(limits))
	for partition, limit := range limits {
		left[partition] = limit
	}
	for len(left) > 0 {
		limited, cancel := context.WithTimeout(ctx, patience)
		fetches := client.PollRecords(limited, batchRecords)
		cancel()
		if err := fetches.Err0(); err != nil {
			if ctx.Err() == nil {
				err = fmt.Errorf("no record of %s came for %v: %w", topic, patience, err)
			}
			return err
		}
		var failed error
		fetches.EachError(func(_ string, partition int32, err error) {
			failed = fmt.Errorf("read partition %d of %s: %w", partition, topic, err)
		})
		if failed != nil {
			return failed
		}
		var records []*franz.Record
		fetches.EachRecord(func(r *franz.Record) {
			limit, ok := left[r.Partition]
			if ok && r.Offset < limit {
				records = append(records, r)
			}
			if ok && r.Offset >= limit-1 {
				delete(left, r.Partition)
			}
		})
		if err := f(records); err != nil {
			return err
		}
	}
	return nil
}
