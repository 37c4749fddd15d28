package eventsource

import (
	"strings"
	"testing"
	"time"
)

var now = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// sources are mappings that hold the least that their kind needs.
var sources = map[*Kind]Mapping{
	SQS:      {Source: Source{ARN: "arn:aws:sqs:us-east-1:000000000000:q"}},
	FIFO:     {Source: Source{ARN: "arn:aws:sqs:us-east-1:000000000000:q.fifo"}},
	Kinesis:  {Source: Source{ARN: "arn:aws:kinesis:us-east-1:000000000000:stream/s", Position: "LATEST"}},
	DynamoDB: {Source: Source{ARN: "arn:aws:dynamodb:us-east-1:000000000000:table/tab/stream/2026-01-01T00:00:00.000", Position: "LATEST"}},
	MSK:      {Source: Source{ARN: "arn:aws:kafka:us-east-1:000000000000:cluster/c/u", Position: "LATEST", Topics: []string{"t"}}},
	SelfManagedKafka: {
		Source:   Source{Servers: []string{"kafka:9092"}, Position: "LATEST", Topics: []string{"t"}},
		Settings: Settings{Access: []Access{{"BASIC_AUTH", "arn"}}},
	},
	MQ: {
		Source:   Source{ARN: "arn:aws:mq:us-east-1:000000000000:broker:b:b-1", Queues: []string{"q"}},
		Settings: Settings{Access: []Access{{"BASIC_AUTH", "arn"}}},
	},
	DocumentDBCluster: {
		Source:   Source{ARN: "arn:aws:rds:us-east-1:000000000000:cluster:c", Position: "LATEST"},
		Settings: Settings{Access: []Access{{"BASIC_AUTH", "arn"}}, DocumentDB: &DocumentDB{Database: "d"}},
	},
}

func TestLeast(t *testing.T) {
	for k, m := range sources {
		m.Complete()
		if got := m.Kind(); got != k {
			t.Errorf("%s is taken for %v", m.ARN, got)
		}
		if err := m.Check(now); err != nil {
			t.Errorf("%s: %v", k.Name, err)
		}
		if *m.BatchSize != k.batch || m.Reason == "" {
			t.Errorf("%s: batch size %d, reason %q", k.Name, *m.BatchSize, m.Reason)
		}
	}
}

func TestUnrecognized(t *testing.T) {
	for _, arn := range []string{
		"", "q", "arn:aws:sqs:us-east-1:000000000000", "arn:aws:sqs:us-east-1:000000000000:", "arn:aws:sqs::000000000000:q", "arn:aws:sqs:us-east-1::q",
		"arn:aws:s3:us-east-1:000000000000:bucket", "arn:aws:kinesis:us-east-1:000000000000:s", "arn:aws:dynamodb:us-east-1:000000000000:table/tab",
		"arn:aws:sqs:us-east-1:000000000000:" + strings.Repeat("q", 81),
	} {
		m := Mapping{Source: Source{ARN: arn}}
		m.Complete()
		if err := m.Check(now); err == nil || !strings.Contains(err.Error(), "Unrecognized event source.") {
			t.Errorf("%q: %v", arn, err)
		}
	}
	m := sources[SQS]
	m.Servers = []string{"kafka:9092"}
	if m.Kind() != nil {
		t.Error("a mapping can have two sources")
	}
}

func TestRules(t *testing.T) {
	yes, past, future := true, now.Add(-time.Hour), now.Add(time.Hour)
	all := []*Kind{SQS, FIFO, Kinesis, DynamoDB, MSK, SelfManagedKafka, MQ, DocumentDBCluster}
	tests := []struct {
		name  string
		set   func(m *Mapping)
		allow []*Kind
	}{
		{"batch of 11", func(m *Mapping) { m.BatchSize = new(11) }, []*Kind{Kinesis, DynamoDB, MSK, SelfManagedKafka, MQ, DocumentDBCluster}},
		{"batch of 11 with a window", func(m *Mapping) { m.BatchSize, m.BatchingWindow = new(11), new(1) },
			[]*Kind{SQS, Kinesis, DynamoDB, MSK, SelfManagedKafka, MQ, DocumentDBCluster}},
		{"batch of 10,001", func(m *Mapping) { m.BatchSize, m.BatchingWindow = new(10001), new(1) }, nil},
		{"parallel", func(m *Mapping) { m.Parallelization = new(2) }, []*Kind{Kinesis, DynamoDB}},
		{"tumbling", func(m *Mapping) { m.TumblingWindow = new(2) }, []*Kind{Kinesis, DynamoDB}},
		{"retries", func(m *Mapping) { m.MaximumRetries = new(2) }, []*Kind{Kinesis, DynamoDB, MSK, SelfManagedKafka}},
		{"age", func(m *Mapping) { m.MaximumAge = new(60) }, []*Kind{Kinesis, DynamoDB, MSK, SelfManagedKafka}},
		{"low age", func(m *Mapping) { m.MaximumAge = new(59) }, nil},
		{"bisect", func(m *Mapping) { m.Bisect = &yes }, []*Kind{Kinesis, DynamoDB, MSK, SelfManagedKafka}},
		{"on failure", func(m *Mapping) { m.OnFailure = new("arn:aws:sns:us-east-1:000000000000:t") }, []*Kind{Kinesis, DynamoDB, MSK, SelfManagedKafka}},
		{"on failure, a topic", func(m *Mapping) { m.OnFailure = new("kafka://t") }, []*Kind{MSK, SelfManagedKafka}},
		{"on failure, elsewhere", func(m *Mapping) { m.OnFailure = new("arn:aws:ec2:us-east-1:000000000000:t") }, nil},
		{"partial", func(m *Mapping) { m.ResponseTypes = []string{"ReportBatchItemFailures"} }, []*Kind{SQS, FIFO, Kinesis, DynamoDB, MSK, SelfManagedKafka}},
		{"concurrency", func(m *Mapping) { m.MaxConcurrency = new(2) }, []*Kind{SQS, FIFO}},
		{"pollers", func(m *Mapping) { m.Pollers = &Pollers{Minimum: new(2), Maximum: new(2)} }, []*Kind{SQS, FIFO, MSK, SelfManagedKafka}},
		{"one poller", func(m *Mapping) { m.Pollers = &Pollers{Minimum: new(1)} }, []*Kind{MSK, SelfManagedKafka}},
		{"pollers upside down", func(m *Mapping) { m.Pollers = &Pollers{Minimum: new(3), Maximum: new(2)} }, nil},
		{"pollers and concurrency", func(m *Mapping) { m.Pollers, m.MaxConcurrency = &Pollers{Minimum: new(2)}, new(2) }, nil},
		{"group", func(m *Mapping) { m.Pollers = &Pollers{Minimum: new(2), Group: "g"} }, []*Kind{MSK, SelfManagedKafka}},
		{"no access", func(m *Mapping) { m.Access = nil }, []*Kind{SQS, FIFO, Kinesis, DynamoDB, MSK}},
		{"scram", func(m *Mapping) { m.Access = []Access{{"SASL_SCRAM_512_AUTH", "arn"}} }, []*Kind{MSK, SelfManagedKafka}},
		{"virtual host", func(m *Mapping) { m.Access = []Access{{"VIRTUAL_HOST", "/"}} }, []*Kind{MQ}},
		{"no topics", func(m *Mapping) { m.Topics = nil }, []*Kind{SQS, FIFO, Kinesis, DynamoDB, MQ, DocumentDBCluster}},
		{"topics", func(m *Mapping) { m.Topics = []string{"t"} }, []*Kind{MSK, SelfManagedKafka}},
		{"no queues", func(m *Mapping) { m.Queues = nil }, []*Kind{SQS, FIFO, Kinesis, DynamoDB, MSK, SelfManagedKafka, DocumentDBCluster}},
		{"queues", func(m *Mapping) { m.Queues = []string{"q"} }, []*Kind{MQ}},
		{"no database", func(m *Mapping) { m.DocumentDB = nil }, []*Kind{SQS, FIFO, Kinesis, DynamoDB, MSK, SelfManagedKafka, MQ}},
		{"database", func(m *Mapping) { m.DocumentDB = &DocumentDB{Database: "d"} }, []*Kind{DocumentDBCluster}},
		{"consumer group", func(m *Mapping) { m.Kafka = &Kafka{ConsumerGroup: "g"} }, []*Kind{MSK, SelfManagedKafka}},
		{"no position", func(m *Mapping) { m.Position = "" }, []*Kind{SQS, FIFO, MQ}},
		{"position", func(m *Mapping) { m.Position = "TRIM_HORIZON" }, []*Kind{Kinesis, DynamoDB, MSK, SelfManagedKafka, DocumentDBCluster}},
		{"timestamp", func(m *Mapping) { m.Position, m.Timestamp = "AT_TIMESTAMP", &past }, []*Kind{Kinesis, MSK, SelfManagedKafka, DocumentDBCluster}},
		{"no timestamp", func(m *Mapping) { m.Position = "AT_TIMESTAMP" }, nil},
		{"future", func(m *Mapping) { m.Position, m.Timestamp = "AT_TIMESTAMP", &future }, nil},
		{"idle timestamp", func(m *Mapping) { m.Timestamp = &past }, nil},
		{"filters", func(m *Mapping) {
			m.Filters = []string{`{"a":[1]}`, `{"b":["x"]}`, `{"c":[null]}`, `{"d":[true]}`, `{"e":[2]}`}
		}, all},
		{"too many filters", func(m *Mapping) { m.Filters = append(make([]string, 5), `{"a":[1]}`) }, nil},
		{"no filter", func(m *Mapping) { m.Filters = []string{`{"a":"x"}`} }, nil},
	}
	for _, tt := range tests {
		for _, k := range all {
			m := sources[k]
			tt.set(&m)
			m.Complete()
			err := m.Check(now)
			allowed := false
			for _, a := range tt.allow {
				allowed = allowed || a == k
			}
			if (err == nil) != allowed {
				t.Errorf("%s (%s), %s: %v, want allowed: %t", k.Name, m.ARN, tt.name, err, allowed)
			}
		}
	}
}

func TestConflict(t *testing.T) {
	kafka := sources[SelfManagedKafka]
	kafka.UUID, kafka.Function = "u1", "arn:aws:lambda:us-east-1:000000000000:function:f"
	other := kafka
	other.UUID = "u2"
	const words = `An event source mapping with event source ("kafka:9092"), function ("arn:aws:lambda:us-east-1:000000000000:function:f"), ` +
		`topics ("t") already exists. Please update or delete the existing mapping with UUID u2`
	if err := kafka.Conflict(&other); err == nil || !strings.HasSuffix(err.Error(), words) {
		t.Errorf("got  %v\nwant %s", err, words)
	}
	for name, change := range map[string]func(*Mapping){
		"itself":           func(m *Mapping) { m.UUID = "u1" },
		"another account":  func(m *Mapping) { m.Account = "1" },
		"another topic":    func(m *Mapping) { m.Topics = []string{"u"} },
		"other servers":    func(m *Mapping) { m.Servers = []string{"kafka:9093"} },
		"another function": func(m *Mapping) { m.Function += ":1" },
	} {
		changed := other
		change(&changed)
		if err := kafka.Conflict(&changed); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
