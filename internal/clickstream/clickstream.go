// Package clickstream carries clicks from the front door to the store through a Kafka topic. Its two drivers, kgo and
// kq, write the same topic, the same value and the same W3C trace context headers, so that either end can be exchanged
// for the other at any time. What each driver promises is a table that streamtest prints.
package clickstream

import (
	"context"
	"time"

	"github.com/google/uuid"
	"go.opentelemetry.io/otel/trace"

	"github.com/linktrail/linktrail/internal/click"
)

// DefaultTopic is the topic of clicks; DeadLetterSuffix makes the name of the topic for those that cannot be decoded.
const (
	DefaultTopic     = "click-events"
	DeadLetterSuffix = ".dlq"
)

// DefaultQueue is how many clicks a publisher holds that the broker has not yet acknowledged.
const DefaultQueue = 65536

// Publisher sends clicks to the topic. Safe for concurrent use.
type Publisher interface {
	// Publish takes a click and returns at once. It makes the span `send click-events`, a child of the span in ctx,
	// which ends when the broker has acknowledged the record (kq asks for none: when it is handed over), and puts that
	// span's context into the record's headers. ctx may be cancelled as soon as Publish returns; baggage is not sent.
	// A click that finds the queue full is dropped, counted, and its span ends with an error; so is one that the broker
	// refuses for good.
	Publish(ctx context.Context, c click.Click)
	// Close takes no further clicks and waits until those in the queue are acknowledged or ctx ends; what is left then
	// is counted as dropped, and the error says how many.
	Close(ctx context.Context) error
}

// Message is a click as the topic has it, on its way there.
type Message struct {
	// ID is the click's.
	ID uuid.UUID
	// Value must not change until Done is called.
	Value []byte
	// Parent is the span below which the message is sent; it may be invalid.
	Parent trace.SpanContext
	// Taken is when the click was.
	Taken time.Time
	// Done is called once nothing is left to do: the broker has acknowledged the message (kq: it is handed over), or
	// has refused it for good. It is not called for what is left when the publisher is closed.
	Done func()
}

// Shipper is a Publisher that takes clicks which are kept elsewhere until they are done. Safe for concurrent use.
type Shipper interface {
	Publisher
	// Ship takes a message as Publish does a click, but waits until there is room in the queue, or returns ctx's error.
	Ship(ctx context.Context, m Message) error
}

// A Record is one message of the topic as a consumer hands it over.
type Record struct {
	Value []byte
	// Headers are the record's, in their order. kq reveals none.
	Headers []Header
	// Producer is the span context in the record's headers, remote; it is not valid when the record carries none.
	Producer trace.SpanContext
	Topic    string
	// Partition and Offset tell where the record lies; kq does not reveal them and both are -1.
	Partition int32
	Offset    int64
}

// A Header is one of a record's headers. A record may have several of one key.
type Header struct {
	Key   string
	Value []byte
}

// Handler writes a batch of records. When it returns nil all of them are done and their offsets may be committed. It
// must not return an error for what trying again cannot mend; an error means that the batch is handed over again after
// a pause, for as long as it takes or until ctx ends. ctx ends when the consumer must let go of the batch.
type Handler func(ctx context.Context, batch []Record) error

// Consumer reads the topic as a member of a consumer group, from the first record on. Not safe for concurrent use but
// for Ready.
type Consumer interface {
	// Run hands batches to h, one at a time, until ctx ends; then it lets the batch in hand finish within the drain
	// deadline of its configuration, commits what was done, leaves the group and returns nil.
	Run(ctx context.Context, h Handler) error
	// Ready reports nil when the consumer has joined its group and knows its partitions.
	Ready() error
}

// Config is the ClickStream block of a service's YAML.
type Config struct {
	// Driver is kgo or kq.
	Driver  string `json:",default=kgo,options=kgo|kq"`
	Brokers []string
	Topic   string `json:",default=click-events"`
	// Group is the consumer group.
	Group string `json:",default=analytics-consumer"`
	// SessionTimeout is how long a consumer that was killed keeps its partitions, which nobody reads meanwhile. The brokers
	// bound it, by 6 seconds and half an hour as a rule. kgo only: kq's is 30 seconds.
	SessionTimeout time.Duration `json:",default=45s"`
	// Queue is the most clicks that wait for their acknowledgement.
	Queue int `json:",default=65536,range=[1:16777216]"`
	// LingerMillis is how many milliseconds a record waits for company before its batch is sent.
	LingerMillis int `json:",default=50,range=[0:1000]"`
	// MaxBatch is the most records handed to the consumer's handler at once.
	MaxBatch int `json:",default=2000,range=[1:100000]"`
	// MaxBatchBytes is the most bytes of values in a batch of several records.
	MaxBatchBytes int `json:",default=4194304,range=[1024:268435456]"`
	// BatchMillis is how many milliseconds a batch that is not full waits for more records. kq, whose readers hold one
	// record each, does not wait.
	BatchMillis int `json:",default=50,range=[0:10000]"`
	// Conns is how many readers kq runs in this process; more than there are partitions is waste. kgo ignores it.
	Conns int  `json:",default=12,range=[1:1024]"`
	TLS   TLS  `json:",optional"`
	SASL  SASL `json:",optional"`
}

// TLS is how brokers are reached over TLS; kgo only.
type TLS struct {
	Enabled bool `json:",optional"`
	// CAFile is a PEM file with the authorities to trust in place of the system's.
	CAFile string `json:",optional"`
	// CertFile and KeyFile are the client's own certificate, for mutual TLS.
	CertFile string `json:",optional"`
	KeyFile  string `json:",optional"`
	// ServerName is the name to verify in place of the broker's host.
	ServerName string `json:",optional"`
}

// SASL is who we are to the brokers; kgo only.
type SASL struct {
	// Mechanism is PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512; empty is no SASL.
	Mechanism string `json:",optional,options=PLAIN|SCRAM-SHA-256|SCRAM-SHA-512"`
	Username  string `json:",optional"`
	Password  string `json:",optional"`
	// PasswordFile is a file with the password, read at every connection, for Secrets that change.
	PasswordFile string `json:",optional"`
}
