package doctor

import (
	"crypto/rand"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/linktrail/linktrail/apps/linktrail/internal/up"
	"github.com/linktrail/linktrail/hack/testenv"
	"github.com/linktrail/linktrail/internal/clickstream"
	"github.com/linktrail/linktrail/internal/clickstream/driver"
)

func examineKafka(t *testing.T, c clickstream.Config) Report {
	t.Helper()
	return examine(t, System{Kafka: &c}, patience)
}

// MustTopics makes the topics of a stream with a name of its own.
func MustTopics(t *testing.T, brokers []string) clickstream.Config {
	t.Helper()
	c := clickstream.Config{Brokers: brokers, Topic: "doctor-" + strings.ToLower(rand.Text()[:10])}.WithDefaults()
	if err := driver.MakeTopics(t.Context(), c, 2, 1); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestKafka(t *testing.T) {
	server := testenv.Kafka(t)
	stream := MustTopics(t, server.Brokers)
	with := func(change func(*clickstream.Config)) clickstream.Config {
		c := stream
		change(&c)
		return c
	}
	secure := func(change func(*clickstream.Config)) clickstream.Config {
		return with(func(c *clickstream.Config) {
			c.Brokers, c.TLS = server.TLSBrokers, clickstream.TLS{Enabled: true, CAFile: server.CAFile}
			c.SASL = clickstream.SASL{Mechanism: clickstream.SASLScramSHA512, Username: server.Username, Password: server.Password}
			change(c)
		})
	}
	t.Run("OK", func(t *testing.T) {
		wantOK(t, examineKafka(t, stream), checkKafka, "driver kgo", "1 broker", stream.Topic+" with 2 partitions", ".dlq with 1 partition")
	})
	t.Run("OK SASL over TLS", func(t *testing.T) {
		wantOK(t, examineKafka(t, secure(func(*clickstream.Config) {})), checkKafka, "2 partitions")
	})
	t.Run("OK kq", func(t *testing.T) {
		r := examineKafka(t, with(func(c *clickstream.Config) { c.Driver = clickstream.DriverKq }))
		wantOK(t, r, checkKafka, "driver kq", "without TLS, SASL and acknowledgements")
	})
	for name, c := range map[string]struct {
		config clickstream.Config
		kind   Kind
		words  []string
	}{
		"ErrTopic": {with(func(c *clickstream.Config) { c.Topic = "there-is-none" }), KindTopic,
			[]string{"no topic there-is-none,", "no topic there-is-none.dlq", "linktrail migrate", "--topic there-is-none"}},
		"ErrPassword": {secure(func(c *clickstream.Config) { c.SASL.Password = secret }), KindCredentials,
			[]string{`refuses the user "linktrail"`, "SCRAM-SHA-512", "ClickStream.SASL"}},
		"ErrPlainPassword": {secure(func(c *clickstream.Config) { c.SASL.Mechanism, c.SASL.Password = clickstream.SASLPlain, secret }), KindCredentials,
			[]string{"PLAIN"}},
		"ErrUser": {secure(func(c *clickstream.Config) { c.SASL.Username = "nobody" }), KindCredentials, []string{`"nobody"`}},
		"ErrNoCA": {secure(func(c *clickstream.Config) { c.TLS.CAFile = "" }), KindTLS,
			[]string{"not trusted here", "ClickStream.TLS.CAFile"}},
		"ErrServerName": {secure(func(c *clickstream.Config) { c.TLS.ServerName = "other.example" }), KindTLS,
			[]string{"not for other.example", "ClickStream.TLS.ServerName"}},
		"ErrNoSASL": {secure(func(c *clickstream.Config) { c.SASL = clickstream.SASL{} }), KindCredentials, []string{"it wants SASL"}},
		"ErrNoTLS":  {secure(func(c *clickstream.Config) { c.TLS = clickstream.TLS{} }), KindTLS, []string{"TLS", "ClickStream.TLS.Enabled to true"}},
		"ErrTLSOnPlainListener": {secure(func(c *clickstream.Config) { c.Brokers = server.Brokers }), KindTLS,
			[]string{"may not speak TLS", "ClickStream.TLS.Enabled to false"}},
		"ErrSASLOnPlainListener": {secure(func(c *clickstream.Config) { c.Brokers, c.TLS = server.Brokers, clickstream.TLS{} }), KindCredentials,
			[]string{"takes no SASL", "leave ClickStream.SASL out"}},
		"ErrKqOnTLSListener": {with(func(c *clickstream.Config) { c.Driver, c.Brokers = clickstream.DriverKq, server.TLSBrokers }), KindTLS,
			[]string{"ClickStream.Driver to kgo: kq has neither TLS nor SASL"}},
		"ErrKqWithTLS": {secure(func(c *clickstream.Config) { c.Driver = clickstream.DriverKq }), KindConfig, []string{"kq, which has no TLS", "Driver to kgo"}},
		"ErrOneOfTwo":  {with(func(c *clickstream.Config) { c.Brokers = append([]string{free(t)}, c.Brokers...) }), KindRefused, []string{"nothing listens"}},
	} {
		t.Run(name, func(t *testing.T) { wantProblem(t, examineKafka(t, c.config), checkKafka, c.kind, c.words...) })
	}
}

// TestKafkaSays changes what a broker tells of the cluster: an authorizer, lost brokers, a wrong advertised listener.
func TestKafkaSays(t *testing.T) {
	const everything = 1<<readOperation | 1<<writeOperation | 1<<describeOperation
	eachTopic := func(change func(*kmsg.MetadataResponseTopic)) func(*kmsg.MetadataResponse) {
		return func(m *kmsg.MetadataResponse) {
			for i := range m.Topics {
				change(&m.Topics[i])
			}
		}
	}
	operations := func(bits int32) func(*kmsg.MetadataResponse) {
		return eachTopic(func(topic *kmsg.MetadataResponseTopic) { topic.AuthorizedOperations = bits })
	}
	fail := func(err *kerr.Error) func(*kmsg.MetadataResponse) {
		return eachTopic(func(topic *kmsg.MetadataResponseTopic) { topic.ErrorCode = err.Code })
	}
	away := func(m *kmsg.MetadataResponse) {
		m.Brokers[0].Host, m.Brokers[0].Port = "kafka-0.there-is-none.invalid", 9092
	}
	for name, c := range map[string]struct {
		change func(*kmsg.MetadataResponse)
		role   string // of the one service that asks; empty asks for all
		kind   Kind   // empty finds nothing
		words  []string
	}{
		"ErrAdvertised": {away, "", KindAdvertised, []string{"go on to kafka-0.there-is-none.invalid:9092", "does not resolve", "advertised.listeners"}},
		"ErrLeader": {eachTopic(func(topic *kmsg.MetadataResponseTopic) { topic.Partitions[0].Leader = -1 }), "", KindLeader,
			[]string{"without a leader", "start the brokers"}},
		"ErrInSync": {eachTopic(func(topic *kmsg.MetadataResponseTopic) { topic.Partitions[0].ISR = nil }), "", KindLeader,
			[]string{"0 replicas in sync", "min.insync.replicas"}},
		"ErrDescribe":       {fail(kerr.TopicAuthorizationFailed), "", KindPermission, []string{"may not see the topic", "--operation Describe --topic"}},
		"ErrRead":           {operations(1<<writeOperation | 1<<describeOperation), up.AnalyticsConsumer, KindPermission, []string{"may not read", "--operation Read"}},
		"ErrWrite":          {operations(1<<readOperation | 1<<describeOperation), up.URLAPI, KindPermission, []string{"may not write to", "--operation Write"}},
		"OK url-api writes": {operations(1<<writeOperation | 1<<describeOperation), up.URLAPI, "", nil},
		"OK may do all":     {operations(everything), "", "", nil},
		"OK told nothing":   {operations(-1 << 31), "", "", nil},
	} {
		t.Run(name, func(t *testing.T) {
			cluster, err := kfake.NewCluster(kfake.NumBrokers(1))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(cluster.Close)
			stream := MustTopics(t, cluster.ListenAddrs())
			cluster.ControlKey(int16(kmsg.Metadata), func(request kmsg.Request) (kmsg.Response, error, bool) {
				cluster.KeepControl()
				return told(cluster, stream, request, c.change), nil, true
			})
			system := System{Kafka: &stream}
			if c.role != "" {
				system = System{Services: []Service{{Name: "mine", File: "mine.yaml", role: c.role, kafka: &stream}}}
			}
			r := examine(t, system, patience)
			if c.kind == "" {
				wantOK(t, r, checkKafka)
				return
			}
			wantProblem(t, r, checkKafka, c.kind, c.words...)
		})
	}
	t.Run("ErrGroup", func(t *testing.T) {
		cluster, err := kfake.NewCluster(kfake.NumBrokers(1))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(cluster.Close)
		stream := MustTopics(t, cluster.ListenAddrs())
		cluster.ControlKey(int16(kmsg.FindCoordinator), func(request kmsg.Request) (kmsg.Response, error, bool) {
			response := request.ResponseKind().(*kmsg.FindCoordinatorResponse)
			coordinator := kmsg.NewFindCoordinatorResponseCoordinator()
			coordinator.ErrorCode = kerr.GroupAuthorizationFailed.Code
			response.ErrorCode, response.Coordinators = coordinator.ErrorCode, append(response.Coordinators, coordinator)
			return response, nil, true
		})
		wantProblem(t, examineKafka(t, stream), checkKafka, KindPermission, "consumer group analytics-consumer", "--group analytics-consumer")
	})
}

// told is the metadata of a cluster of one broker with the stream's topics, changed.
func told(cluster *kfake.Cluster, stream clickstream.Config, request kmsg.Request, change func(*kmsg.MetadataResponse)) *kmsg.MetadataResponse {
	m := request.ResponseKind().(*kmsg.MetadataResponse)
	broker := kmsg.NewMetadataResponseBroker()
	host, port := split(cluster.ListenAddrs()[0])
	broker.Host, broker.Port = host, port
	m.Brokers = append(m.Brokers, broker)
	for _, name := range []string{stream.Topic, stream.Topic + clickstream.DeadLetterSuffix} {
		topic := kmsg.NewMetadataResponseTopic()
		topic.Topic = kmsg.StringPtr(name)
		partition := kmsg.NewMetadataResponseTopicPartition()
		partition.Replicas, partition.ISR = []int32{0}, []int32{0}
		topic.Partitions = append(topic.Partitions, partition)
		m.Topics = append(m.Topics, topic)
	}
	change(m)
	return m
}
