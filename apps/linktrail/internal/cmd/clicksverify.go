package cmd

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/linktrail/linktrail/internal/click"
	"github.com/linktrail/linktrail/internal/clickstream"
	"github.com/linktrail/linktrail/internal/clickstream/audit"
	"github.com/linktrail/linktrail/internal/store"
	"github.com/linktrail/linktrail/internal/store/repair"
	"github.com/linktrail/linktrail/internal/store/rollup"
)

// verified is what `clicks verify` found.
type verified struct {
	looked

	OK bool `json:"ok"`
	// Differences is how many counts differ, in DifferentHours hours; Shown are the first of them.
	Differences    int64        `json:"differences"`
	DifferentHours int64        `json:"different_hours"`
	Shown          []difference `json:"shown"`
	Kafka          *streamState `json:"kafka,omitempty"`
}

type difference struct {
	LinkID    int64     `json:"link_id"`
	Hour      time.Time `json:"hour"`
	What      string    `json:"what"`
	Dimension string    `json:"dimension"`
	Value     string    `json:"value,omitempty"`
	Clicks    int64     `json:"clicks"`
	Rollups   int64     `json:"rollups"`
}

// streamState is how the topic stands to the store.
type streamState struct {
	Topic      string            `json:"topic"`
	Group      string            `json:"group"`
	Partitions []audit.Partition `json:"partitions"`
	// Waiting records are not consumed yet; Lost ones the topic dropped before they were.
	Waiting int64 `json:"waiting"`
	Lost    int64 `json:"lost"`
	// Records is there with --records: of all records which the topic still has and the group has committed.
	Records *recordState `json:"records,omitempty"`
}

type recordState struct {
	Read        int64 `json:"read"`
	Undecodable int64 `json:"undecodable"`
	// DeadLetters are clicks among the dead letters, Missing those that are nowhere; Shown are the first of them.
	DeadLetters int64           `json:"dead_letters"`
	Missing     int64           `json:"missing"`
	Shown       []missingRecord `json:"shown"`
}

type missingRecord struct {
	Partition int32  `json:"partition"`
	Offset    int64  `json:"offset"`
	ClickID   string `json:"click_id"`
	LinkID    int64  `json:"link_id"`
	TraceID   string `json:"trace_id"`
}

// verification is what `clicks verify` is asked.
type verification struct {
	scope   scopeFlags
	store   *storeFlags
	kafka   string
	topic   string
	group   string
	records bool
	limit   int
}

// errDiffers is told by the exit code; the report has said what differs.
type errDiffers struct{ text string }

func (e errDiffers) Error() string { return e.text }

func (a *app) clicksVerifyCommand(flags *storeFlags) *cobra.Command {
	v := verification{store: flags}
	c := &cobra.Command{
		Use:   "verify",
		Short: "Compare the statistics with the clicks, and the clicks with Kafka",
		Long: `Compare the statistics of every link and hour with its clicks: totals, bots, the values of each dimension, and the quarters
of the hour. Everything may go on meanwhile: what is compared is of one moment, a few hours of a link at a time.

With --kafka, or with --config of a service that has a ClickStream, it tells how far the consumers have come: records that
are waiting are clicks which the store does not have yet, which is no difference. Records that the topic dropped before they
were consumed are one. Of the number of records nothing follows for the number of clicks, since a record may come twice. So
--records reads all that are consumed and still there, and looks each up: in the store, else among the dead letters. Those
of purged links, and those from before what is kept, need not be there.

Browsers, systems and devices are counted as this version knows them: hours that an earlier version counted may differ.

Exit codes: 0 when nothing differs, 8 when something does; others as of every command.`,
		Example: `  linktrail clicks verify
  linktrail clicks verify --code go-blog --from 2026-05-01
  linktrail clicks verify --store postgres://… --kafka localhost:9092 --records --output json
  linktrail clicks verify --config etc/analytics-consumer.yaml || linktrail clicks rebuild --config etc/analytics-consumer.yaml`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if v.limit < 0 {
				return usagef("--limit: %d is negative", v.limit)
			}
			return a.withStore(c.Context(), flags, func(s store.Store) error { return a.verify(c.Context(), s, v) })
		},
	}
	v.scope.add(c)
	c.Flags().StringVar(&v.kafka, "kafka", "", "host:port of Kafka brokers, with commas between")
	c.Flags().StringVar(&v.topic, "topic", "", "the topic of clicks (default "+clickstream.DefaultTopic+")")
	c.Flags().StringVar(&v.group, "group", "", "the consumer group (default analytics-consumer)")
	c.Flags().BoolVar(&v.records, "records", false, "read the records of the topic, and look each up")
	c.Flags().IntVar(&v.limit, "limit", 20, "how many differences to show; all are counted")
	return c
}

func (a *app) verify(ctx context.Context, s store.Store, v verification) error {
	scope, err := v.scope.scope(ctx, s)
	if err != nil {
		return err
	}
	stream, err := v.stream(a.data)
	if err != nil {
		return err
	}
	done := verified{Shown: []difference{}}
	if len(stream.Brokers) > 0 {
		if done.Kafka, err = a.verifyStream(ctx, s, stream, v); err != nil {
			return fmt.Errorf("Kafka: %w", err)
		}
	}
	result, err := repair.Verify(ctx, s, scope, func(linkID int64, differences []rollup.Difference) {
		for _, d := range differences[:min(len(differences), v.limit-len(done.Shown))] {
			done.Shown = append(done.Shown, difference{linkID, d.Hour, d.What, d.Dimension, d.Value, d.Rows, d.Rollups})
		}
	}, a.tellProgress())
	if err != nil {
		return err
	}
	done.looked, done.Differences, done.DifferentHours = look(result), result.Differences, result.Different
	var wrong []string
	if done.Differences > 0 {
		wrong = append(wrong, fmt.Sprintf("%d counts in %d hours differ from the clicks; `linktrail clicks rebuild` mends them", done.Differences, done.DifferentHours))
	}
	if k := done.Kafka; k != nil && k.Lost > 0 {
		wrong = append(wrong, fmt.Sprintf("the topic dropped %d records before they were consumed", k.Lost))
	}
	if k := done.Kafka; k != nil && k.Records != nil && k.Records.Missing > 0 {
		wrong = append(wrong, fmt.Sprintf("%d consumed clicks are nowhere", k.Records.Missing))
	}
	done.OK = len(wrong) == 0
	if err := a.print(done, func(w io.Writer) error { return verifiedTable(w, done) }); err != nil {
		return err
	}
	if !done.OK {
		return errDiffers{strings.Join(wrong, "; ")}
	}
	return nil
}

// stream is where the click stream is, from flags and a service's YAML; without Brokers nowhere.
func (v verification) stream(data string) (clickstream.Config, error) {
	file, err := v.store.read(data)
	if err != nil {
		return clickstream.Config{}, err
	}
	c := file.ClickStream
	if v.kafka != "" {
		c.Brokers = strings.Split(strings.ReplaceAll(v.kafka, " ", ""), ",")
	}
	if len(c.Brokers) == 0 {
		if v.topic != "" || v.group != "" || v.records {
			return c, usagef("--topic, --group and --records go with --kafka, or with --config of a service that has a ClickStream")
		}
		return c, nil
	}
	if v.topic != "" {
		c.Topic = v.topic
	}
	if v.group != "" {
		c.Group = v.group
	}
	c = c.WithDefaults()
	if err := c.Validate(); err != nil {
		return c, usageError{err}
	}
	return c, nil
}

// offsetsDeadline is how long the brokers may take to tell their offsets.
const offsetsDeadline = 10 * time.Second

func (a *app) verifyStream(ctx context.Context, s store.Store, c clickstream.Config, v verification) (*streamState, error) {
	state := &streamState{Topic: c.Topic, Group: c.Group}
	limited, cancel := context.WithTimeout(ctx, offsetsDeadline)
	defer cancel()
	var err error
	if state.Partitions, err = audit.Offsets(limited, c); err != nil {
		return nil, err
	}
	for _, p := range state.Partitions {
		state.Waiting += p.Waiting
		state.Lost += p.Lost
	}
	if v.records {
		state.Records, err = a.verifyRecords(ctx, s, c, state.Partitions, v.limit)
	}
	return state, err
}

func (a *app) verifyRecords(ctx context.Context, s store.Store, c clickstream.Config, partitions []audit.Partition, limit int) (*recordState, error) {
	state := &recordState{Shown: []missingRecord{}}
	var dead map[uuid.UUID]bool
	next := time.Now().Add(progressEvery)
	read, err := audit.Records(ctx, c, partitions, func(batch []audit.Record) error {
		all := make([]click.Click, len(batch))
		at := make(map[uuid.UUID]audit.Record, len(batch))
		for i, r := range batch {
			all[i], at[r.Click.ID] = r.Click, r
		}
		missing, err := s.MissingClicks(ctx, all)
		if err != nil || len(missing) == 0 {
			return err
		}
		if dead == nil {
			if dead, err = audit.DeadClicks(ctx, c); err != nil {
				return err
			}
		}
		for _, m := range missing {
			if dead[m.ID] {
				state.DeadLetters++
				continue
			}
			if state.Missing++; len(state.Shown) < limit {
				state.Shown = append(state.Shown, missingRecord{at[m.ID].Partition, at[m.ID].Offset, m.ID.String(), m.LinkID, m.TraceID.String()})
			}
		}
		return nil
	}, func(read, all int64) {
		if now := time.Now(); now.After(next) {
			next = now.Add(progressEvery)
			_, _ = fmt.Fprintf(a.err, "record %d of %d\n", read, all)
		}
	})
	state.Read, state.Undecodable = read.Records, read.Undecodable
	return state, err
}

func verifiedTable(w io.Writer, v verified) error {
	if k := v.Kafka; k != nil {
		_, _ = fmt.Fprintf(w, "Kafka: group %s of topic %s has %d records waiting", k.Group, k.Topic, k.Waiting)
		if k.Lost > 0 {
			_, _ = fmt.Fprintf(w, "; %d were dropped before they were consumed", k.Lost)
		}
		_, _ = fmt.Fprintln(w)
		if r := k.Records; r != nil {
			_, _ = fmt.Fprintf(w, "Kafka: of %d consumed records %d are no clicks, %d are dead letters, %d are missing\n", r.Read, r.Undecodable, r.DeadLetters, r.Missing)
			for _, m := range r.Shown {
				_, _ = fmt.Fprintf(w, "  missing: partition %d, offset %d: click %s of link %d, trace %s\n", m.Partition, m.Offset, m.ClickID, m.LinkID, m.TraceID)
			}
		}
	}
	v.notes(w)
	if len(v.Shown) > 0 {
		lines := [][]string{{"LINK", "HOUR", "WHAT", "DIMENSION", "VALUE", "CLICKS", "ROLLUPS"}}
		for _, d := range v.Shown {
			lines = append(lines, []string{strconv.FormatInt(d.LinkID, 10), d.Hour.Format(time.RFC3339), d.What, d.Dimension, cut(d.Value, 40),
				strconv.FormatInt(d.Clicks, 10), strconv.FormatInt(d.Rollups, 10)})
		}
		if err := rows(w, lines); err != nil {
			return err
		}
		if more := v.Differences - int64(len(v.Shown)); more > 0 {
			_, _ = fmt.Fprintf(w, "and %d more\n", more)
		}
	}
	_, err := fmt.Fprintf(w, "%s of %d links in %d hours: %d counts differ\n", clicks(v.Clicks), v.Links, v.Hours, v.Differences)
	return err
}
