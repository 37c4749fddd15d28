package eventsource

import (
	"regexp"
	"slices"
	"strings"
)

// Kind is a kind of source and what a mapping of it can have.
type Kind struct {
	Name string
	// Reason is the StateTransitionReason of what the owner asked for.
	Reason string

	batch, maxBatch int
	// window says whether batches can be waited for; of a source that shows
	// it, the default is 0.
	window, showsWindow bool
	positions           []string // where reading can begin; nil if it has no such choice
	// retries says whether the mapping, and not the source, decides what
	// becomes of a batch that fails; defaults says that it shows so.
	retries, defaults bool
	partial, shards   bool
	concurrency       bool
	access            []string // how a poller can authenticate
	needsAccess       bool
	topics, queues    bool
	documentDB        bool
	kafka             bool
	processed         bool // shows the result of the last batch
	minPollers        int  // the least of Pollers.Minimum and Maximum; 0 for none
}

var (
	streamPositions = []string{"LATEST", "TRIM_HORIZON", "AT_TIMESTAMP"}
	kafkaAccess     = []string{
		"BASIC_AUTH", "SASL_SCRAM_256_AUTH", "SASL_SCRAM_512_AUTH", "CLIENT_CERTIFICATE_TLS_AUTH",
		"SERVER_ROOT_CA_CERTIFICATE", "VPC_SUBNET", "VPC_SECURITY_GROUP",
	}
)

const (
	userInitiated = "USER_INITIATED"
	userAction    = "User action"
)

// The kinds of sources.
var (
	SQS = &Kind{
		Name: "SQS", Reason: userInitiated, batch: 10, maxBatch: 10000, window: true, showsWindow: true,
		partial: true, concurrency: true, minPollers: 2,
	}
	FIFO = &Kind{
		Name: "SQS", Reason: userInitiated, batch: 10, maxBatch: 10, showsWindow: true,
		partial: true, concurrency: true, minPollers: 2,
	}
	Kinesis = &Kind{
		Name: "Kinesis", Reason: userAction, batch: 100, maxBatch: 10000, window: true, showsWindow: true, positions: streamPositions,
		retries: true, defaults: true, partial: true, shards: true, processed: true,
	}
	DynamoDB = &Kind{
		Name: "DynamoDB", Reason: userAction, batch: 100, maxBatch: 10000, window: true, showsWindow: true, positions: streamPositions[:2],
		retries: true, defaults: true, partial: true, shards: true, processed: true,
	}
	MSK = &Kind{
		Name: "MSK", Reason: userInitiated, batch: 100, maxBatch: 10000, window: true, positions: streamPositions,
		retries: true, partial: true, access: kafkaAccess, topics: true, kafka: true, processed: true, minPollers: 1,
	}
	SelfManagedKafka = &Kind{
		Name: "SelfManagedKafka", Reason: userInitiated, batch: 100, maxBatch: 10000, window: true, positions: streamPositions,
		retries: true, partial: true, access: kafkaAccess, needsAccess: true, topics: true, kafka: true, processed: true, minPollers: 1,
	}
	MQ = &Kind{
		Name: "MQ", Reason: userInitiated, batch: 100, maxBatch: 10000, window: true,
		access: []string{"BASIC_AUTH", "VIRTUAL_HOST"}, needsAccess: true, queues: true, processed: true,
	}
	DocumentDBCluster = &Kind{
		Name: "DocumentDB", Reason: userInitiated, batch: 100, maxBatch: 10000, window: true, positions: streamPositions,
		access: []string{"BASIC_AUTH"}, needsAccess: true, documentDB: true, processed: true,
	}
)

// form is what the ARN of a kind of source looks like.
type form struct {
	service  string
	resource *regexp.Regexp
	kind     *Kind
}

var forms = []form{
	{"sqs", regexp.MustCompile(`^[A-Za-z0-9_-]{1,75}\.fifo$`), FIFO},
	{"sqs", regexp.MustCompile(`^[A-Za-z0-9_-]{1,80}$`), SQS},
	{"kinesis", regexp.MustCompile(`^stream/[A-Za-z0-9_.-]{1,128}(/consumer/[A-Za-z0-9_.-]{1,128}:[0-9]+)?$`), Kinesis},
	{"dynamodb", regexp.MustCompile(`^table/[A-Za-z0-9_.-]{3,255}/stream/.{1,100}$`), DynamoDB},
	{"kafka", regexp.MustCompile(`^(cluster|vpc-connection)/.{1,200}$`), MSK},
	{"mq", regexp.MustCompile(`^broker:.{1,200}$`), MQ},
	{"rds", regexp.MustCompile(`^cluster:.{1,200}$`), DocumentDBCluster},
}

// Kind is the kind of source, or nil if it is none that mappings can read.
func (s *Source) Kind() *Kind {
	if s.ARN == "" {
		if len(s.Servers) > 0 {
			return SelfManagedKafka
		}
		return nil
	}
	const fields = 6
	parts := strings.SplitN(s.ARN, ":", fields)
	if len(parts) != fields || parts[0] != "arn" || parts[3] == "" || parts[4] == "" || len(s.Servers) > 0 {
		return nil
	}
	i := slices.IndexFunc(forms, func(f form) bool { return f.service == parts[2] && f.resource.MatchString(parts[5]) })
	if i < 0 {
		return nil
	}
	return forms[i].kind
}
