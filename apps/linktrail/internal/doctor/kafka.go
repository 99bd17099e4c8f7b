package doctor

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	franz "github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/linktrail/linktrail/apps/linktrail/internal/up"
	"github.com/linktrail/linktrail/internal/clickstream"
	"github.com/linktrail/linktrail/internal/clickstream/kgo"
)

var kafkaKeys = keys{address: "ClickStream.Brokers", enable: "ClickStream.TLS.Enabled", ca: "ClickStream.TLS.CAFile",
	cert: "ClickStream.TLS.CertFile and KeyFile", name: "ClickStream.TLS.ServerName"}

func kafkaCheck(c clickstream.Config, services []Service) check {
	k := &kafka{Config: c, services: services}
	return check{target: strings.Join(c.Brokers, ", "), run: k.examine}
}

// kafka looks at a cluster. Requests go to one broker each and are not repeated, so that the first error is told.
type kafka struct {
	clickstream.Config
	services []Service
}

func (k *kafka) examine(ctx context.Context) (string, []Problem) {
	if err := k.Validate(); err != nil {
		return one(KindConfig, k.kqTip("correct the ClickStream block"), "%s", oneLine(err))
	}
	config, wrong := security{
		enabled: k.TLS.Enabled, caFile: k.TLS.CAFile, certFile: k.TLS.CertFile, keyFile: k.TLS.KeyFile, serverName: k.TLS.ServerName,
	}.config(kafkaKeys)
	if wrong != nil {
		return "", []Problem{*wrong}
	}
	client, err := kgo.Dial(k.Config, kgo.DefaultClientID, franz.RequestRetries(0))
	if err != nil {
		return one(KindConfig, "correct the ClickStream block", "%s", oneLine(err))
	}
	defer client.Close()

	var (
		problems []Problem
		metadata *kmsg.MetadataResponse
		answers  *franz.Broker
	)
	for i, seed := range client.SeedBrokers() {
		if p := dial(ctx, k.Brokers[i], config, kafkaKeys); p != nil {
			problems = append(problems, *p)
			continue
		}
		if metadata != nil {
			continue
		}
		found, err := k.metadata(ctx, seed)
		if err != nil {
			problems = append(problems, k.fault(ctx, err, k.Brokers[i]))
			continue
		}
		metadata, answers = found, seed
	}
	if metadata == nil {
		return "", problems
	}
	for _, topic := range metadata.Topics {
		problems = append(problems, k.topic(ctx, answers, topic)...)
	}
	if anyIs(k.services, up.AnalyticsConsumer) {
		problems = append(problems, k.group(ctx, answers)...)
	}
	problems = append(problems, k.advertised(ctx, metadata, config)...)
	return k.describe(metadata), problems
}

// A topic that was made a moment ago is not known to every broker yet: it is asked for again.
const (
	metadataAsks  = 4
	metadataPause = 250 * time.Millisecond
)

// metadata asks a broker for the cluster and for our topics, without having them made.
func (k *kafka) metadata(ctx context.Context, broker *franz.Broker) (*kmsg.MetadataResponse, error) {
	request := kmsg.NewPtrMetadataRequest()
	request.IncludeTopicAuthorizedOperations = true
	for _, name := range []string{k.Topic, k.Topic + clickstream.DeadLetterSuffix} {
		topic := kmsg.NewMetadataRequestTopic()
		topic.Topic = kmsg.StringPtr(name)
		request.Topics = append(request.Topics, topic)
	}
	for asked := 1; ; asked++ {
		response, err := broker.Request(ctx, request)
		if err != nil {
			return nil, err
		}
		m := response.(*kmsg.MetadataResponse)
		if asked == metadataAsks || !slices.ContainsFunc(m.Topics, missing) {
			return m, nil
		}
		select {
		case <-ctx.Done():
			return m, nil
		case <-time.After(metadataPause):
		}
	}
}

func missing(topic kmsg.MetadataResponseTopic) bool {
	return errors.Is(kerr.ErrorForCode(topic.ErrorCode), kerr.UnknownTopicOrPartition)
}

func (k *kafka) describe(m *kmsg.MetadataResponse) string {
	parts := []string{fmt.Sprintf("driver %s", k.Driver), number(len(m.Brokers), "broker")}
	for _, topic := range m.Topics {
		parts = append(parts, fmt.Sprintf("%s with %s", name(topic), number(len(topic.Partitions), "partition")))
	}
	if k.Driver == clickstream.DriverKq {
		parts = append(parts, "without TLS, SASL and acknowledgements, which kq cannot do")
	}
	return strings.Join(parts, ", ")
}

func number(n int, of string) string {
	if n == 1 {
		return "1 " + of
	}
	return strconv.Itoa(n) + " " + of + "s"
}

func name(topic kmsg.MetadataResponseTopic) string {
	if topic.Topic == nil {
		return ""
	}
	return *topic.Topic
}

// topic judges a topic: whether it is there, can be written, and by us.
func (k *kafka) topic(ctx context.Context, broker *franz.Broker, topic kmsg.MetadataResponseTopic) []Problem {
	called := name(topic)
	switch err := kerr.ErrorForCode(topic.ErrorCode); {
	case errors.Is(err, kerr.UnknownTopicOrPartition), errors.Is(err, kerr.UnknownTopicID):
		return []Problem{problem(KindTopic, k.migration(), "there is no topic %s, or we may not see it", called)}
	case errors.Is(err, kerr.TopicAuthorizationFailed):
		return []Problem{problem(KindPermission, k.acl("--topic "+called, "Describe"), "we may not see the topic %s", called)}
	case err != nil && !errors.Is(err, kerr.LeaderNotAvailable):
		return []Problem{problem(KindOther, "look at the brokers' logs", "topic %s: %s", called, oneLine(err))}
	}
	var problems []Problem
	var leaderless []string
	fewest := -1
	for _, p := range topic.Partitions {
		if p.Leader < 0 || errors.Is(kerr.ErrorForCode(p.ErrorCode), kerr.LeaderNotAvailable) {
			leaderless = append(leaderless, strconv.Itoa(int(p.Partition)))
		} else if fewest < 0 || len(p.ISR) < fewest {
			fewest = len(p.ISR)
		}
	}
	if len(leaderless) > 0 {
		problems = append(problems, problem(KindLeader, "start the brokers that are away; kafka-topics.sh --describe --topic "+called+" tells which hold it",
			"partitions of %s without a leader, to which nothing can be written: %s", called, strings.Join(leaderless, ", ")))
	}
	if least := k.minInSync(ctx, broker, called); fewest >= 0 && fewest < least && k.Driver == clickstream.DriverKgo {
		problems = append(problems, problem(KindLeader, "start the brokers that are away; kafka-topics.sh --describe --topic "+called+" tells which hold it",
			"%s has a partition with %s in sync, and its min.insync.replicas is %d: what is written is refused", called, number(fewest, "replica"), least))
	}
	return append(problems, k.operations(topic)...)
}

// Operations, by the bit that a broker tells each with.
const (
	readOperation     = 3
	writeOperation    = 4
	describeOperation = 8
)

// operations judges what we may do with a topic, where the broker tells it.
func (k *kafka) operations(topic kmsg.MetadataResponseTopic) []Problem {
	may := func(operation int) bool { return topic.AuthorizedOperations&(1<<operation) != 0 }
	if topic.AuthorizedOperations < 0 || !may(describeOperation) { // not told
		return nil
	}
	called := name(topic)
	letters := called != k.Topic
	var problems []Problem
	if needed := anyIs(k.services, up.AnalyticsConsumer) && !letters; needed && !may(readOperation) {
		problems = append(problems, problem(KindPermission, k.acl("--topic "+called, "Read"), "we may not read the topic %s", called))
	}
	writer := up.URLAPI
	if letters {
		writer = up.AnalyticsConsumer
	}
	if anyIs(k.services, writer) && !may(writeOperation) {
		problems = append(problems, problem(KindPermission, k.acl("--topic "+called, "Write"), "we may not write to the topic %s", called))
	}
	return problems
}

// minInSync is a topic's min.insync.replicas, 0 when it is not told.
func (k *kafka) minInSync(ctx context.Context, broker *franz.Broker, topic string) int {
	const key = "min.insync.replicas"
	resource := kmsg.NewDescribeConfigsRequestResource()
	resource.ResourceType, resource.ResourceName, resource.ConfigNames = kmsg.ConfigResourceTypeTopic, topic, []string{key}
	request := kmsg.NewPtrDescribeConfigsRequest()
	request.Resources = append(request.Resources, resource)
	answer, err := broker.Request(ctx, request)
	if err != nil {
		return 0
	}
	for _, described := range answer.(*kmsg.DescribeConfigsResponse).Resources {
		for _, config := range described.Configs {
			if config.Name == key && config.Value != nil {
				n, _ := strconv.Atoi(*config.Value)
				return n
			}
		}
	}
	return 0
}

// group judges whether we may be a member of the consumer group.
func (k *kafka) group(ctx context.Context, broker *franz.Broker) []Problem {
	request := kmsg.NewPtrFindCoordinatorRequest()
	request.CoordinatorKey, request.CoordinatorKeys = k.Group, []string{k.Group}
	answer, err := broker.Request(ctx, request)
	if err != nil {
		return nil
	}
	response := answer.(*kmsg.FindCoordinatorResponse)
	codes := []int16{response.ErrorCode}
	for _, coordinator := range response.Coordinators {
		codes = append(codes, coordinator.ErrorCode)
	}
	if slices.Contains(codes, kerr.GroupAuthorizationFailed.Code) {
		return []Problem{problem(KindPermission, k.acl("--group "+k.Group, "Read"), "we may not be in the consumer group %s", k.Group)}
	}
	return nil
}

// advertised connects to the brokers under the names that they give themselves: clients go on to these, wherever they
// began.
func (k *kafka) advertised(ctx context.Context, m *kmsg.MetadataResponse, config *tls.Config) []Problem {
	var problems []Problem
	for _, broker := range m.Brokers {
		addr := net.JoinHostPort(broker.Host, strconv.Itoa(int(broker.Port)))
		if slices.Contains(k.Brokers, addr) {
			continue // has been tried
		}
		if p := dial(ctx, addr, config, kafkaKeys); p != nil {
			problems = append(problems, problem(KindAdvertised,
				"set advertised.listeners of the broker to an address that is reached from where linktrail runs, or make this one reachable",
				"broker %d answers, and tells clients to go on to %s, which fails from here: %s", broker.NodeID, addr, p.Detail))
		}
	}
	return problems
}

func (k *kafka) migration() string {
	if len(k.services) > 0 {
		return "linktrail migrate --config " + quoted(k.services[0].File)
	}
	text := "linktrail migrate --store … --kafka " + quoted(strings.Join(k.Brokers, ","))
	if k.Topic != clickstream.DefaultTopic {
		text += " --topic " + quoted(k.Topic)
	}
	return text
}

func (k *kafka) acl(resource, operation string) string {
	user := k.SASL.Username
	if user == "" {
		user = "…"
	}
	return fmt.Sprintf("kafka-acls.sh --bootstrap-server … --add --allow-principal User:%s --operation %s %s", user, operation, resource)
}

// kqTip adds what to do where the driver cannot do what is wanted.
func (k *kafka) kqTip(otherwise string) string {
	if k.Driver == clickstream.DriverKq {
		return "set ClickStream.Driver to kgo: kq has neither TLS nor SASL; or use a plain listener of the brokers"
	}
	return otherwise
}

// fault says what the error of a request means.
func (k *kafka) fault(ctx context.Context, err error, addr string) Problem {
	if e, ok := errors.AsType[*kerr.Error](err); ok {
		switch e {
		case kerr.SaslAuthenticationFailed:
			return problem(KindCredentials, "correct ClickStream.SASL: Username and Password (or PasswordFile); an unknown user is refused alike",
				"%s refuses the user %q with this password (%s)", addr, k.SASL.Username, k.SASL.Mechanism)
		case kerr.UnsupportedSaslMechanism:
			return problem(KindCredentials, "set ClickStream.SASL.Mechanism to one that the listener has: PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512",
				"%s does not know the SASL mechanism %s", addr, k.SASL.Mechanism)
		case kerr.IllegalSaslState:
			return problem(KindCredentials, "leave ClickStream.SASL out, or use the brokers' SASL listener", "%s takes no SASL on this listener", addr)
		case kerr.ClusterAuthorizationFailed:
			return problem(KindPermission, k.acl("--cluster", "Describe"), "we may not ask for the cluster's metadata")
		}
		return problem(KindOther, "look at the broker's log", "%s: %s", addr, oneLine(err))
	}
	if _, ok := errors.AsType[*franz.ErrFirstReadEOF](err); ok {
		return k.hungUp(err.Error(), addr)
	}
	if text := err.Error(); strings.Contains(text, "response size") { // the first bytes are read as a length
		if strings.Contains(text, "tls alert") {
			return problem(KindTLS, k.kqTip("set ClickStream.TLS.Enabled to true"), "%s is a TLS listener, and we speak without", addr)
		}
		return problem(KindProtocol, "correct ClickStream.Brokers", "%s is not a Kafka: its answer makes no sense", addr)
	}
	if strings.Contains(err.Error(), "SASL") || strings.Contains(err.Error(), "scram") {
		return problem(KindCredentials, "correct ClickStream.SASL: Mechanism, Username and Password (or PasswordFile)", "%s refuses us: %s", addr, oneLine(err))
	}
	if timedOut(err) || ctx.Err() != nil {
		return silent(addr, kafkaKeys)
	}
	if closed(err) {
		return k.hungUp("", addr)
	}
	if p, ok := networkFault(err, addr, kafkaKeys); ok {
		return p
	}
	return problem(KindProtocol, "correct ClickStream.Brokers", "%s does not answer as a Kafka does: %s", addr, oneLine(err))
}

// hungUp is a broker that ends the connection. The client tells at which moment in words alone.
func (k *kafka) hungUp(text, addr string) Problem {
	switch {
	case strings.Contains(text, "SASL"):
		return problem(KindCredentials, k.kqTip("set ClickStream.SASL: Mechanism, Username and Password (or PasswordFile)"),
			"%s ends the connection at the first request: it wants SASL", addr)
	case !k.TLS.Enabled:
		return problem(KindTLS, k.kqTip("set ClickStream.TLS.Enabled to true if it is a TLS listener; else correct ClickStream.Brokers"),
			"%s ends the connection at the first byte: it wants TLS, or is not a Kafka", addr)
	}
	return problem(KindProtocol, "correct ClickStream.Brokers; look at the broker's log", "%s ends the connection: it may not be a Kafka", addr)
}
