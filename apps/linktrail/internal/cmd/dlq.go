package cmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/linktrail/linktrail/apps/linktrail/internal/doctor"
	"github.com/linktrail/linktrail/apps/linktrail/internal/up"
	"github.com/linktrail/linktrail/internal/clickstream"
	"github.com/linktrail/linktrail/internal/clickstream/deadletter"
)

// streamFlags say which click stream.
type streamFlags struct{ file, kafka, topic string }

func (f *streamFlags) add(c *cobra.Command) {
	flags := c.PersistentFlags()
	flags.StringVar(&f.file, "config", "", "a service's YAML, whose ClickStream to use (default that of the \"linktrail up\" of --data)")
	flags.StringVar(&f.kafka, "kafka", "", "host:port of Kafka brokers, with commas between; TLS and SASL are configured in YAML alone")
	flags.StringVar(&f.topic, "topic", "", "the topic of clicks that goes with --kafka (default "+clickstream.DefaultTopic+")")
}

// read returns the configuration that flags, a service's YAML or the folder of `linktrail up` give.
func (f *streamFlags) read(c *cobra.Command, data string) (clickstream.Config, error) {
	if err := exclusive(c, "config", "kafka"); err != nil {
		return clickstream.Config{}, err
	}
	if f.kafka != "" {
		stream, err := up.BrokersOf(f.kafka)
		if err != nil {
			return stream, err
		}
		if f.topic != "" {
			stream.Topic = f.topic
		}
		if err := stream.Validate(); err != nil {
			return stream, usageError{err}
		}
		return stream, nil
	}
	if f.topic != "" {
		return clickstream.Config{}, usagef("--topic goes with --kafka; a service's YAML has ClickStream.Topic")
	}
	file := f.file
	if file == "" {
		file = filepath.Join(data, "etc", up.AnalyticsConsumer+".yaml")
	}
	service, err := doctor.ReadService(file)
	if err != nil && f.file == "" {
		return clickstream.Config{}, usagef("which Kafka? name a service's YAML with --config, brokers with --kafka, or the folder of `linktrail up` with --data: %w", err)
	}
	if err != nil {
		return clickstream.Config{}, usageError{err}
	}
	stream, err := service.ClickStream()
	if err != nil {
		return clickstream.Config{}, usagef("%s: %w", file, err)
	}
	if stream == nil {
		return clickstream.Config{}, usagef("%s has no ClickStream; those of url-api and analytics-consumer have", file)
	}
	return *stream, nil
}

func (a *app) dlqCommand() *cobra.Command {
	var f streamFlags
	c := group("dlq", "Look at dead letters, send them back, drop them", `  linktrail dlq list
  linktrail dlq retry --reason newer_version
  linktrail dlq drop 0:42 --yes`,
		a.dlqListCommand(&f), a.dlqRetryCommand(&f), a.dlqDropCommand(&f))
	c.Long = `Look at dead letters, send them back, drop them.

A record of the click stream that analytics-consumer cannot read, or that the store refuses, is put aside in a topic of its
own, click-events.dlq, with the reason. These commands name a letter by PARTITION:OFFSET in that topic.

Kafka takes no single record out of a topic: a letter that was retried or dropped gets a mark behind it, and these commands
pass over it from then on. Its content stays until the topic's retention removes it. Reading the topic needs its ACL Read, marks
need Write, and to send a record back needs Write on the topic of clicks.`
	f.add(c)
	return c
}

// letters says which letters a command is about.
type letters struct {
	all    bool
	reason string
	places map[deadletter.Place]bool // those named that have not been seen yet
}

func (l *letters) add(c *cobra.Command, verb string) {
	c.Flags().BoolVar(&l.all, "all", false, verb+" all dead letters")
	c.Flags().StringVar(&l.reason, "reason", "", verb+" those whose reason begins so, as in undecodable, newer_version, refused")
}

// choose takes the arguments and wants exactly one way to choose.
func (l *letters) choose(c *cobra.Command, args []string) error {
	ways := 0
	for _, way := range []bool{l.all, l.reason != "", len(args) > 0} {
		if way {
			ways++
		}
	}
	if ways != 1 {
		return usagef("`%s` takes either PARTITION:OFFSET..., or --reason, or --all; see `%[1]s --help`", c.CommandPath())
	}
	l.places = make(map[deadletter.Place]bool)
	for _, arg := range args {
		place, err := deadletter.ParsePlace(arg)
		if err != nil {
			return usageError{err}
		}
		l.places[place] = true
	}
	return nil
}

func (l *letters) has(letter deadletter.Letter) bool {
	if len(l.places) > 0 || !l.all && l.reason == "" {
		found := l.places[letter.Place]
		delete(l.places, letter.Place)
		return found
	}
	return l.all || strings.HasPrefix(letter.Reason, l.reason)
}

// missing is an error when letters that were named are not there.
func (l *letters) missing(topic string) error {
	for place := range l.places {
		return notFoundError{fmt.Errorf("%s has no dead letter %v, or it was retried or dropped before; `linktrail dlq list` shows those that are left", topic, place)}
	}
	return nil
}

// notFoundError is about something that was named and is not there.
type notFoundError struct{ error }

func (e notFoundError) Unwrap() error { return e.error }

func (a *app) withDeadLetters(c *cobra.Command, f *streamFlags, work func(*deadletter.Box) error) error {
	stream, err := f.read(c, a.data)
	if err != nil {
		return err
	}
	box, err := deadletter.Open(stream)
	if err != nil {
		return usageError{err} // of a file that TLS or SASL need
	}
	defer box.Close()
	err = work(box)
	if errors.Is(err, deadletter.ErrNoTopic) {
		return notFoundError{fmt.Errorf("%w; `linktrail migrate --kafka …` makes it", err)}
	}
	return err
}

// shownLetter is a letter as it is printed.
type shownLetter struct {
	Partition int32        `json:"partition"`
	Offset    int64        `json:"offset"`
	Time      string       `json:"time"`
	Reason    string       `json:"reason"`
	Origin    *shownOrigin `json:"origin"`
	// Value is the beginning of the record's value.
	Value string `json:"value"`
	// Bytes is how long the record's value was.
	Bytes int `json:"bytes"`
	// Cut says that not all of the value or of the headers was kept, so that it cannot be sent back.
	Cut bool `json:"cut"`
}

type shownOrigin struct {
	Partition int32 `json:"partition"`
	Offset    int64 `json:"offset"`
}

// maxShown is how many bytes of a value are shown.
const maxShown = 1024

func showLetter(l deadletter.Letter) shownLetter {
	shown := shownLetter{
		Partition: l.Partition, Offset: l.Offset, Time: l.Time.UTC().Format(time.RFC3339), Reason: l.Reason,
		Value: strings.ToValidUTF8(string(l.Value[:min(len(l.Value), maxShown)]), "�"), Bytes: l.Bytes, Cut: l.Cut,
	}
	if l.Origin != nil {
		shown.Origin = &shownOrigin{l.Origin.Partition, l.Origin.Offset}
	}
	return shown
}

func (a *app) dlqListCommand(f *streamFlags) *cobra.Command {
	var (
		limit  int
		all    bool
		reason string
	)
	c := &cobra.Command{
		Use:   "list",
		Short: "List dead letters, oldest first",
		Long: `List the dead letters that were neither retried nor dropped, oldest first: where each lies in the topic of dead letters, since
when, why, where it lay in the topic of clicks (kq does not tell), and how its value begins.`,
		Example: `  linktrail dlq list
  linktrail dlq list --reason refused --limit 10
  linktrail dlq list --config etc/analytics-consumer.yaml --all --output json`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := exclusive(c, "limit", "all"); err != nil {
				return err
			}
			if limit < 1 {
				return usagef("--limit %d is not a positive number", limit)
			}
			shown := struct {
				Letters []shownLetter `json:"letters"`
				// Count is how many there are, those beyond the limit too.
				Count int `json:"count"`
			}{Letters: []shownLetter{}}
			err := a.withDeadLetters(c, f, func(box *deadletter.Box) error {
				return box.Each(c.Context(), func(l deadletter.Letter) error {
					if !strings.HasPrefix(l.Reason, reason) {
						return nil
					}
					if shown.Count++; all || len(shown.Letters) < limit {
						shown.Letters = append(shown.Letters, showLetter(l))
					}
					return nil
				})
			})
			if err != nil {
				return err
			}
			return a.print(shown, func(w io.Writer) error {
				if err := letterTable(w, shown.Letters); err != nil {
					return err
				}
				if more := shown.Count - len(shown.Letters); more > 0 {
					_, _ = fmt.Fprintf(a.err, "there are %d more: --all lists them, --limit some\n", more)
				}
				return nil
			})
		},
	}
	c.Flags().IntVar(&limit, "limit", 50, "the most letters to list")
	c.Flags().BoolVar(&all, "all", false, "list all letters")
	c.Flags().StringVar(&reason, "reason", "", "only those whose reason begins so, as in undecodable, newer_version, refused")
	return c
}

func letterTable(w io.Writer, letters []shownLetter) error {
	lines := [][]string{{"LETTER", "SINCE", "REASON", "CAME FROM", "VALUE"}}
	for _, l := range letters {
		origin := "-"
		if l.Origin != nil {
			origin = fmt.Sprintf("%d:%d", l.Origin.Partition, l.Origin.Offset)
		}
		lines = append(lines, []string{fmt.Sprintf("%d:%d", l.Partition, l.Offset), l.Time, cut(l.Reason, 80), origin, cut(l.Value, 60)})
	}
	return rows(w, lines)
}

func (a *app) dlqRetryCommand(f *streamFlags) *cobra.Command {
	var chosen letters
	c := &cobra.Command{
		Use:   "retry [PARTITION:OFFSET...]",
		Short: "Send dead letters back to the topic of clicks",
		Long: `Send dead letters back to the topic of clicks, with the headers that they had there, and mark them as retried once all in-sync
replicas have them. Who is interrupted may retry again: a record is sent at least once, and a click that comes twice is counted
once. What cannot be read or stored this time either becomes a new dead letter. A letter of which a part was kept, because
it was too large, cannot be sent back.`,
		Example: `  linktrail dlq retry 0:42 0:43
  linktrail dlq retry --reason newer_version
  linktrail dlq retry --all --config etc/analytics-consumer.yaml`,
		Args: chosen.choose,
		RunE: func(c *cobra.Command, _ []string) error {
			return a.withDeadLetters(c, f, func(box *deadletter.Box) error {
				retried, cut := 0, 0
				err := inChunks(c.Context(), box, &chosen, func(some []deadletter.Letter) error {
					for _, l := range some {
						if l.Cut {
							cut++
						}
					}
					n, err := box.Retry(c.Context(), some)
					retried += n
					a.progress(len(some), "%d sent back\n", retried)
					return err
				})
				if err != nil {
					return err
				}
				if err := a.printDone("retried", retried); err != nil {
					return err
				}
				if cut > 0 {
					return fmt.Errorf("%d dead letters cannot be sent back, since only a part of them was kept; `linktrail dlq drop` drops them", cut)
				}
				return chosen.missing(box.Topic())
			})
		},
	}
	chosen.add(c, "send back")
	return c
}

func (a *app) dlqDropCommand(f *streamFlags) *cobra.Command {
	var (
		chosen letters
		yes    bool
	)
	c := &cobra.Command{
		Use:   "drop [PARTITION:OFFSET...] --yes",
		Short: "Give dead letters up",
		Long: `Mark dead letters as dropped: they are not listed and not retried any more, and the clicks in them stay uncounted. Without --yes
it says how many these would be. Their content stays in Kafka until the retention of the topic of dead letters removes it.`,
		Example: `  linktrail dlq drop 0:42 --yes
  linktrail dlq drop --reason undecodable --yes
  linktrail dlq drop --all`,
		Args: chosen.choose,
		RunE: func(c *cobra.Command, _ []string) error {
			return a.withDeadLetters(c, f, func(box *deadletter.Box) error {
				dropped := 0
				err := inChunks(c.Context(), box, &chosen, func(some []deadletter.Letter) error {
					dropped += len(some)
					if !yes {
						return nil
					}
					a.progress(len(some), "%d to drop\n", dropped)
					return box.Drop(c.Context(), some)
				})
				if err != nil {
					return err
				}
				if !yes && dropped > 0 {
					return usagef("this would drop %d dead letters for good; say so with --yes", dropped)
				}
				if err := a.printDone("dropped", dropped); err != nil {
					return err
				}
				return chosen.missing(box.Topic())
			})
		},
	}
	chosen.add(c, "drop")
	c.Flags().BoolVar(&yes, "yes", false, "really do it")
	return c
}

// atOnce is how many letters are kept in memory.
const atOnce = 500

// inChunks hands the chosen letters to work, some at a time.
func inChunks(ctx context.Context, box *deadletter.Box, chosen *letters, work func([]deadletter.Letter) error) error {
	var some []deadletter.Letter
	err := box.Each(ctx, func(l deadletter.Letter) error {
		if !chosen.has(l) {
			return nil
		}
		if some = append(some, l); len(some) < atOnce {
			return nil
		}
		err := work(some)
		some = nil
		return err
	})
	if err != nil || len(some) == 0 {
		return err
	}
	return work(some)
}

// progress says how far it is, after each of several chunks.
func (a *app) progress(chunk int, format string, n int) {
	if chunk == atOnce {
		_, _ = fmt.Fprintf(a.err, format, n)
	}
}

func (a *app) printDone(what string, n int) error {
	return a.print(map[string]any{what: n}, func(w io.Writer) error {
		_, err := fmt.Fprintf(w, "%s %d dead letters\n", what, n)
		return err
	})
}
