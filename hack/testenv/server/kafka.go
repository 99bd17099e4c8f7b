package server

import (
	"context"
	"crypto/rand"
	_ "embed"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	"github.com/linktrail/linktrail/hack/testenv"
)

const (
	kafkaVersion  = "4.3.1"
	kafkaUsername = "linktrail"
	kafkaPassword = "linktrail-test"
	javaAtLeast   = 17
)

//go:embed kafka.pom.xml
var kafkaPOM []byte

func kafka() definition {
	return definition{
		name: "kafka",
		variables: []string{testenv.EnvKafka, testenv.EnvKafkaTLS, testenv.EnvKafkaCA,
			testenv.EnvKafkaUsername, testenv.EnvKafkaPassword},
		image:    "apache/kafka:" + kafkaVersion,
		packages: []string{"openjdk-17-jre-headless", "maven"},
		missing: func() string {
			if javaBinary() == "" {
				return fmt.Sprintf("java (%d or newer)", javaAtLeast)
			}
			return missingCommand("mvn")
		},
		prepare: fetchKafka,
		start:   startKafka,
	}
}

func kafkaLibs(cache string) string { return filepath.Join(cache, "kafka-"+kafkaVersion, "libs") }

// fetchKafka has Maven put the broker and all that it needs into one folder.
func fetchKafka(ctx context.Context, s *setup) error {
	return s.once(kafkaLibs(s.cache), "fetching Kafka "+kafkaVersion+" with Maven", func(dir string) error {
		if err := os.WriteFile(filepath.Join(dir, "pom.xml"), kafkaPOM, 0o644); err != nil {
			return err
		}
		cmd := exec.CommandContext(ctx, "mvn", "-B", "-ntp", "-Dkafka.version="+kafkaVersion,
			"org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies",
			"-DincludeScope=runtime", "-DoutputDirectory="+filepath.Join(dir, "libs"))
		cmd.Dir = dir
		_, err := s.output(cmd)
		return err
	})
}

// javaBinary returns a Java that is new enough, or "".
func javaBinary() string {
	candidates, _ := filepath.Glob("/usr/lib/jvm/java-*/bin/java")
	if home := os.Getenv("JAVA_HOME"); home != "" {
		candidates = append([]string{filepath.Join(home, "bin", "java")}, candidates...)
	}
	for _, java := range append([]string{"java"}, candidates...) {
		output, err := exec.Command(java, "-version").CombinedOutput()
		if err != nil {
			continue
		}
		match := regexp.MustCompile(`version "(\d+)`).FindSubmatch(output)
		if match == nil {
			continue
		}
		if major, err := strconv.Atoi(string(match[1])); err == nil && major >= javaAtLeast {
			return java
		}
	}
	return ""
}

// kafkaProperties is a cluster of one, broker and controller, with two ways in, and a third for those who come through a
// proxy.
func (l *launch) kafkaProperties(bind, logs string, plain, tls, controller, behind int) string {
	const login = "org.apache.kafka.common.security."
	listeners := fmt.Sprintf("PLAINTEXT://%s:%d,SASL_SSL://%s:%d,CONTROLLER://127.0.0.1:%d", bind, plain, bind, tls, controller)
	advertised := fmt.Sprintf("PLAINTEXT://127.0.0.1:%d,SASL_SSL://127.0.0.1:%d", plain, tls)
	if proxy := l.session.options.KafkaProxy; proxy != "" {
		listeners += fmt.Sprintf(",PROXIED://%s:%d", bind, behind)
		advertised += ",PROXIED://" + proxy
	}
	return strings.Join([]string{
		"node.id=1",
		"process.roles=broker,controller",
		fmt.Sprintf("controller.quorum.voters=1@127.0.0.1:%d", controller),
		"controller.listener.names=CONTROLLER",
		"listeners=" + listeners,
		"advertised.listeners=" + advertised,
		"listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SASL_SSL:SASL_SSL,PROXIED:PLAINTEXT",
		"inter.broker.listener.name=PLAINTEXT",
		"sasl.enabled.mechanisms=SCRAM-SHA-512,SCRAM-SHA-256,PLAIN",
		"listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config=" + login + "scram.ScramLoginModule required;",
		"listener.name.sasl_ssl.scram-sha-256.sasl.jaas.config=" + login + "scram.ScramLoginModule required;",
		fmt.Sprintf(`listener.name.sasl_ssl.plain.sasl.jaas.config=%splain.PlainLoginModule required user_%s="%s";`,
			login, kafkaUsername, kafkaPassword),
		"ssl.keystore.type=PEM",
		"ssl.keystore.location=" + filepath.Join(l.dir, serverFile),
		"log.dirs=" + logs,
		"auto.create.topics.enable=false",
		"group.initial.rebalance.delay.ms=0",
		"offsets.topic.replication.factor=1",
		"offsets.topic.num.partitions=4",
		"transaction.state.log.replication.factor=1",
		"transaction.state.log.min.isr=1",
		"transaction.state.log.num.partitions=4",
		"share.coordinator.state.topic.replication.factor=1",
		"share.coordinator.state.topic.min.isr=1",
		"",
	}, "\n")
}

const kafkaLogging = `status = warn
rootLogger.level = warn
rootLogger.appenderRef.out.ref = out
appender.out.type = Console
appender.out.name = out
appender.out.layout.type = PatternLayout
appender.out.layout.pattern = %d{HH:mm:ss} %p %c{1}: %m%n
`

func startKafka(ctx context.Context, l *launch) (map[string]string, error) {
	ports, err := freePorts(4)
	if err != nil {
		return nil, err
	}
	bind, logs := "127.0.0.1", filepath.Join(l.dir, "data")
	if l.container {
		bind, logs = "0.0.0.0", "/tmp/kafka-data"
	}
	pool, err := writeCertificates(l.dir)
	if err != nil {
		return nil, err
	}
	properties := filepath.Join(l.dir, "server.properties")
	text := l.kafkaProperties(bind, logs, ports[0], ports[1], ports[2], ports[3])
	if err := os.WriteFile(properties, []byte(text), 0o644); err != nil {
		return nil, err
	}
	format, err := formatArguments(properties)
	if err != nil {
		return nil, err
	}

	plain, secure := loopback(ports[0]), loopback(ports[1])
	stop := syscall.SIGTERM
	cmd := l.kafkaContainer(plain, secure, ports, format, properties)
	if !l.container {
		stop = syscall.SIGKILL // an orderly end takes seconds, and nobody will read the data
		if cmd, err = l.kafkaCommand(ctx, format, properties); err != nil {
			return nil, err
		}
	}
	credentials := scram.Auth{User: kafkaUsername, Pass: kafkaPassword}.AsSha512Mechanism()
	err = l.serve(ctx, cmd, stop, func(ctx context.Context) error {
		return errors.Join(
			hasBroker(ctx, kgo.SeedBrokers(plain)),
			hasBroker(ctx, kgo.SeedBrokers(secure), kgo.DialTLSConfig(clientTLS(pool)), kgo.SASL(credentials)))
	})
	l.session.behind(loopback(ports[3]))
	return map[string]string{
		testenv.EnvKafka:         plain,
		testenv.EnvKafkaTLS:      secure,
		testenv.EnvKafkaCA:       filepath.Join(l.dir, authorityFile),
		testenv.EnvKafkaUsername: kafkaUsername,
		testenv.EnvKafkaPassword: kafkaPassword,
	}, err
}

// formatArguments are those of Kafka's storage tool, which also makes the user.
func formatArguments(properties string) ([]string, error) {
	var id [16]byte
	if _, err := rand.Read(id[:]); err != nil {
		return nil, err
	}
	id[0] &= 0x7f // an id that begins with "-" would be taken for a flag
	user := fmt.Sprintf("[name=%s,password=%s]", kafkaUsername, kafkaPassword)
	return []string{"format", "--cluster-id", base64.RawURLEncoding.EncodeToString(id[:]), "--config", properties,
		"--add-scram", "SCRAM-SHA-512=" + user, "--add-scram", "SCRAM-SHA-256=" + user}, nil
}

// kafkaCommand formats the data folder and returns the command that serves it.
func (l *launch) kafkaCommand(ctx context.Context, format []string, properties string) (*exec.Cmd, error) {
	logging := filepath.Join(l.dir, "log4j2.properties")
	if err := os.WriteFile(logging, []byte(kafkaLogging), 0o644); err != nil {
		return nil, err
	}
	java := func(ctx context.Context, class string, args ...string) *exec.Cmd {
		cmd := exec.CommandContext(ctx, javaBinary(), append([]string{"-Xms128m", "-Xmx512m", "-XX:-UsePerfData",
			"-XX:+ExitOnOutOfMemoryError", "-Djava.io.tmpdir=" + l.dir, "-Dlog4j2.configurationFile=" + logging,
			"-cp", filepath.Join(kafkaLibs(l.cache), "*"), class}, args...)...)
		cmd.Dir = l.dir
		return cmd
	}
	if output, err := java(ctx, "kafka.tools.StorageTool", format...).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("format Kafka's storage: %w\n%s", err, output)
	}
	// The server outlives ctx, which is that of the start.
	return java(context.WithoutCancel(ctx), "kafka.Kafka", properties), nil
}

// kafkaContainer returns the command that formats and serves in a container, on the same ports as outside: a client
// goes on to the address that the broker advertises.
func (l *launch) kafkaContainer(plain, secure string, ports []int, format []string, properties string) *exec.Cmd {
	script := `/opt/kafka/bin/kafka-storage.sh "$@" && exec /opt/kafka/bin/kafka-server-start.sh ` + properties
	return docker(l.image,
		[]string{plain + ":" + strconv.Itoa(ports[0]), secure + ":" + strconv.Itoa(ports[1])},
		[]string{"-e", "KAFKA_HEAP_OPTS=-Xmx512m", "-v", l.dir + ":" + l.dir + ":ro", "--entrypoint", "bash"},
		append([]string{"-c", script, "bash"}, format...)...)
}

// hasBroker asks for the cluster's metadata and then the broker which that names.
func hasBroker(ctx context.Context, options ...kgo.Opt) error {
	client, err := kgo.NewClient(options...)
	if err != nil {
		return err
	}
	defer client.Close()
	request := kmsg.NewPtrMetadataRequest()
	request.Topics = []kmsg.MetadataRequestTopic{}
	metadata, err := request.RequestWith(ctx, client)
	if err != nil {
		return err
	}
	if len(metadata.Brokers) == 0 {
		return errors.New("no broker has registered")
	}
	return client.Ping(ctx)
}
