package deadletter_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kadm"
	franz "github.com/twmb/franz-go/pkg/kgo"

	"github.com/linktrail/linktrail/hack/testenv"
	"github.com/linktrail/linktrail/internal/clickstream"
	"github.com/linktrail/linktrail/internal/clickstream/deadletter"
	"github.com/linktrail/linktrail/internal/clickstream/kgo"
)

const patience = time.Minute

// newTopic makes a topic of clicks and one of dead letters with so many partitions.
func newTopic(t *testing.T, partitions int32) (clickstream.Config, *franz.Client) {
	t.Helper()
	server := testenv.Kafka(t)
	c := clickstream.Config{Brokers: server.TLSBrokers, Topic: "dead-" + strings.ToLower(rand.Text()),
		TLS:  clickstream.TLS{Enabled: true, CAFile: server.CAFile},
		SASL: clickstream.SASL{Mechanism: clickstream.SASLScramSHA512, Username: server.Username, Password: server.Password}}.WithDefaults()
	client, err := franz.NewClient(franz.SeedBrokers(server.Brokers...), franz.RecordPartitioner(franz.ManualPartitioner()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	admin := kadm.NewClient(client)
	for topic, n := range map[string]int32{c.Topic: 3, c.Topic + clickstream.DeadLetterSuffix: partitions} {
		if _, err := admin.CreateTopic(t.Context(), n, 1, nil, topic); err != nil {
			t.Fatal(err)
		}
	}
	testenv.Eventually(t, patience, func() error {
		ends, err := admin.ListEndOffsets(t.Context(), c.Topic, c.Topic+clickstream.DeadLetterSuffix)
		return errors.Join(err, ends.Error())
	})
	t.Cleanup(func() {
		if _, err := admin.DeleteTopics(context.Background(), c.Topic, c.Topic+clickstream.DeadLetterSuffix); err != nil {
			t.Errorf("delete topics: %v", err)
		}
	})
	return c, client
}

func mustOpen(t *testing.T, c clickstream.Config) *deadletter.Box {
	t.Helper()
	box, err := deadletter.Open(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(box.Close)
	return box
}

// all are the letters that are open.
func all(t *testing.T, box *deadletter.Box) []deadletter.Letter {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var letters []deadletter.Letter
	if err := box.Each(ctx, func(l deadletter.Letter) error {
		letters = append(letters, l)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(letters, func(a, b deadletter.Letter) int { return int(a.Partition-b.Partition)*1000 + int(a.Offset-b.Offset) })
	return letters
}

func places(letters []deadletter.Letter) string {
	var text []string
	for _, l := range letters {
		text = append(text, l.String())
	}
	return strings.Join(text, " ")
}

func TestBox(t *testing.T) {
	c, client := newTopic(t, 2)
	box := mustOpen(t, c)
	if got := all(t, box); len(got) != 0 {
		t.Fatalf("an empty topic has %v", got)
	}

	// What the consumer writes, in a partition of Kafka's choice, and two of known places.
	writer, err := kgo.NewDeadLetters(c, kgo.Options{})
	if err != nil {
		t.Fatal(err)
	}
	record := clickstream.Record{Topic: c.Topic, Partition: 2, Offset: 42, Value: []byte("no click\x00"), Headers: []clickstream.Header{
		{Key: "traceparent", Value: []byte("00-01000000000000000000000000000000-0200000000000000-01")}, {Key: "x", Value: []byte{1}}, {Key: "x"}}}
	if err := writer.Send(t.Context(), record, "undecodable: click: not the JSON of a click"); err != nil {
		t.Fatal(err)
	}
	large := clickstream.Record{Topic: c.Topic, Partition: -1, Value: bytes.Repeat([]byte("large"), 400_000)}
	if err := writer.Send(t.Context(), large, "undecodable: too large"); err != nil {
		t.Fatal(err)
	}
	bulky := clickstream.Record{Topic: c.Topic, Partition: 1, Offset: 7, Value: []byte("no click"), Headers: []clickstream.Header{{Key: "x", Value: large.Value}}}
	if err := writer.Send(t.Context(), bulky, "undecodable: large headers"); err != nil {
		t.Fatal(err)
	}
	if err := writer.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	for partition := range int32(2) {
		dead := &franz.Record{Topic: box.Topic(), Partition: partition, Value: []byte("refused one"), Headers: []franz.RecordHeader{{Key: kgo.HeaderReason, Value: []byte("refused: x")}}}
		if err := client.ProduceSync(t.Context(), dead).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}

	letters := all(t, box)
	if len(letters) != 5 {
		t.Fatalf("there are %s", places(letters))
	}
	var first, cut, bare deadletter.Letter
	for _, l := range letters {
		switch {
		case l.Cut && l.Origin != nil:
			bare = l
		case l.Cut:
			cut = l
		case l.Origin != nil:
			first = l
		}
	}
	if cut.Bytes != 2_000_000 || len(cut.Value) != 64<<10 || cut.Origin != nil {
		t.Errorf("of the large one there are %d of %d bytes, from %v", len(cut.Value), cut.Bytes, cut.Origin)
	}
	if string(bare.Value) != "no click" || bare.Bytes != 8 || len(bare.Headers) != 0 || *bare.Origin != (deadletter.Place{Partition: 1, Offset: 7}) {
		t.Errorf("of the one with large headers there is %+v", bare)
	}
	if first.Reason != "undecodable: click: not the JSON of a click" || *first.Origin != (deadletter.Place{Partition: 2, Offset: 42}) ||
		time.Since(first.Time) > time.Hour || string(first.Value) != string(record.Value) {
		t.Errorf("the letter is %+v", first)
	}

	// Retried, it is in the topic as it was, and not among the letters.
	n, err := box.Retry(t.Context(), []deadletter.Letter{first, cut, bare})
	if n != 1 || err != nil {
		t.Fatalf("%d retried, %v", n, err)
	}
	got := read(t, c.Topic, 1)[0]
	var headers []clickstream.Header
	for _, h := range got.Headers {
		headers = append(headers, clickstream.Header(h))
	}
	if diff := cmp.Diff(record.Headers, headers, cmp.Comparer(bytes.Equal)); diff != "" || string(got.Value) != string(record.Value) {
		t.Errorf("it came back as %q with headers (-want +got)\n%s", got.Value, diff)
	}
	left := all(t, box)
	if len(left) != 4 || strings.Contains(" "+places(left)+" ", " "+first.String()+" ") {
		t.Errorf("of %s %s is retried, and left are %s", places(letters), first, places(left))
	}
	if err := box.Drop(t.Context(), left[:1]); err != nil {
		t.Fatal(err)
	}
	if got, want := places(all(t, box)), places(left[1:]); got != want {
		t.Errorf("left are %s, want %s", got, want)
	}
	// Whoever comes later sees the same, and what they do not get to the end of is there still.
	other := mustOpen(t, c)
	stop := errors.New("enough")
	if err := other.Each(t.Context(), func(deadletter.Letter) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("got %v", err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	whole := slices.DeleteFunc(slices.Clone(left[1:]), func(l deadletter.Letter) bool { return l.Cut })
	if n, err := other.Retry(ended, whole); n != 0 || err == nil {
		t.Errorf("%d retried, %v", n, err)
	}
	if got, want := places(all(t, other)), places(left[1:]); got != want {
		t.Errorf("left are %s, want %s", got, want)
	}
	// What retention has removed is gone.
	var from kadm.Offsets
	for partition := range int32(2) {
		from.AddOffset(box.Topic(), partition, -1, -1) // to the end
	}
	if _, err := kadm.NewClient(client).DeleteRecords(t.Context(), from); err != nil {
		t.Fatal(err)
	}
	if got := all(t, box); len(got) != 0 {
		t.Errorf("of what was removed there is %s", places(got))
	}
}

// TestMany drops more letters than one mark names.
func TestMany(t *testing.T) {
	c, client := newTopic(t, 1)
	box := mustOpen(t, c)
	const many = 2500
	records := make([]*franz.Record, many)
	for i := range records {
		records[i] = &franz.Record{Topic: box.Topic()}
	}
	if err := client.ProduceSync(t.Context(), records...).FirstErr(); err != nil {
		t.Fatal(err)
	}
	letters := all(t, box)
	if len(letters) != many {
		t.Fatalf("%d letters", len(letters))
	}
	if n, err := box.Retry(t.Context(), letters[:1200]); n != 1200 || err != nil {
		t.Fatalf("%d retried, %v", n, err)
	}
	if got := len(read(t, c.Topic, 1200)); got != 1200 {
		t.Errorf("%d came back", got)
	}
	if err := box.Drop(t.Context(), letters[1200:many-1]); err != nil {
		t.Fatal(err)
	}
	if got := places(all(t, box)); got != "0:2499" {
		t.Errorf("left are %s", got)
	}
}

func TestNoTopic(t *testing.T) {
	c, _ := newTopic(t, 1)
	c.Topic += "-other"
	if err := mustOpen(t, c).Each(t.Context(), nil); !errors.Is(err, deadletter.ErrNoTopic) || !strings.Contains(err.Error(), c.Topic+".dlq") {
		t.Errorf("got %v", err)
	}
}

func TestParsePlace(t *testing.T) {
	if p, err := deadletter.ParsePlace("3:1234567890123"); err != nil || p.String() != "3:1234567890123" {
		t.Errorf("got %v, %v", p, err)
	}
	for _, text := range []string{"", "3", "3:", ":4", "-1:4", "1:-4", "1:2:3", "a:b", "4294967296:1"} {
		if _, err := deadletter.ParsePlace(text); err == nil || !strings.Contains(err.Error(), "PARTITION:OFFSET") {
			t.Errorf("%q gave %v", text, err)
		}
	}
}

// read reads records as they lie in a topic.
func read(t *testing.T, topic string, n int) []*franz.Record {
	t.Helper()
	client, err := franz.NewClient(franz.SeedBrokers(testenv.Kafka(t).Brokers...), franz.ConsumeTopics(topic), franz.ConsumeResetOffset(franz.NewOffset().AtStart()))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var records []*franz.Record
	for len(records) < n {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			t.Fatal(err)
		}
		records = append(records, fetches.Records()...)
	}
	return records
}
