// Package streamtest holds both drivers of the click stream to the same promises, on a real Kafka, and says which each
// one keeps: its tests demonstrate every row of the table, those that are broken too.
package streamtest

import "strings"

// A Promise is a row of the table.
type Promise struct {
	// Text is what is promised.
	Text string
	// Kgo and Kq are empty when the driver keeps the promise; otherwise they say what it does instead.
	Kgo, Kq string
}

// The promises, which the tests name.
const (
	Carries       = "value and trace context arrive, from either driver at either"
	NoKey         = "records have no key and no baggage"
	NeverBlocks   = "publishing never blocks, and the queue is bounded"
	Acknowledged  = "a click counts as published when all in-sync replicas have it"
	Retried       = "what could not be sent is sent when the broker is back"
	RefusedIsSeen = "a click that the broker refuses is counted, and its span failed; one from a journal stays there until it is taken"
	CloseCounts   = "closing says how many clicks were lost"
	Survives      = "a click is sent though its publisher was killed while the broker was away, when a journal has it"
	FromTheFirst  = "a new group begins at the first record"
	BatchRetried  = "a batch that cannot be written is handed over again, and nothing after it is committed"
	HoldsBack     = "a record that its handler gives up holds back the commit of those after it"
	Stalled       = "while a batch cannot be written the consumer keeps its place in the group, ready, and says that it stalls"
	Stopped       = "a consumer that is stopped in mid-batch loses nothing"
	Killed        = "a consumer that is killed in mid-batch loses nothing"
	Batches       = "batches hold as much as ClickStream.MaxBatch"
	Offsets       = "partition and offset are known"
	DeadHeaders   = "a dead letter has all headers of its record, where the topic takes them"
	Ready         = "a consumer is ready when it has joined its group"
	Secure        = "TLS and SASL"
)

// Promises is the table.
func Promises() []Promise {
	return []Promise{
		{Text: Carries},
		{Text: NoKey, Kq: "no: the key is empty rather than absent"},
		{Text: NeverBlocks},
		{Text: Acknowledged, Kq: "no: acks=0, it counts when kq has taken it"},
		{Text: Retried, Kq: "no: kq drops a chunk whose attempts failed"},
		{Text: RefusedIsSeen, Kq: "no: acks=0, nobody is told"},
		{Text: CloseCounts, Kq: "no: what kq itself held is not known"},
		{Text: Survives, Kq: "no: it leaves the journal when kq has taken it"},
		{Text: FromTheFirst},
		{Text: BatchRetried},
		{Text: HoldsBack, Kq: "no: it commits by highest offset; so linktrail's handler never gives up, it blocks until all is stored"},
		{Text: Stalled},
		{Text: Stopped},
		{Text: Killed},
		{Text: Batches, Kq: "no: at most one record a reader, so ClickStream.Conns"},
		{Text: Offsets, Kq: "no: kq does not reveal them"},
		{Text: DeadHeaders, Kq: "no: only the trace context, kq does not reveal others"},
		{Text: Ready, Kq: "yes, by asking the brokers every few seconds"},
		{Text: Secure, Kq: "no: refused at the start"},
	}
}

// Markdown returns the table as docs/clickstream.md has it.
func Markdown(promises []Promise) string {
	var b strings.Builder
	b.WriteString("| promise | kgo | kq |\n| --- | --- | --- |\n")
	for _, p := range promises {
		b.WriteString("| " + p.Text + " | " + word(p.Kgo) + " | " + word(p.Kq) + " |\n")
	}
	return b.String()
}

func word(s string) string {
	if s == "" {
		return "yes"
	}
	return s
}
