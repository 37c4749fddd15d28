package eventsource

import (
	"slices"
	"strings"
	"time"

	"hearth/internal/awserr"
	"hearth/internal/eventfilter"
)

// MaxFilters is the most patterns of a mapping. AWS raises it to ten on
// request.
const MaxFilters = 5

// Complete sets the defaults of what was not given.
func (m *Mapping) Complete() {
	k := m.Kind()
	if k == nil {
		return
	}
	m.Reason = k.Reason
	if k.processed && m.LastResult == "" {
		m.LastResult = NoRecords
	}
	setDefault(&m.BatchSize, k.batch, true)
	setDefault(&m.BatchingWindow, 0, k.showsWindow)
	setDefault(&m.Parallelization, 1, k.shards)
	setDefault(&m.TumblingWindow, 0, k.shards)
	setDefault(&m.MaximumAge, -1, k.defaults)
	setDefault(&m.MaximumRetries, -1, k.defaults)
	setDefault(&m.Bisect, false, k.defaults)
	setDefault(&m.OnFailure, "", k.defaults)
	if m.ResponseTypes == nil && k.showsWindow {
		m.ResponseTypes = []string{}
	}
	if k.kafka && (m.Kafka == nil || m.Kafka.ConsumerGroup == "") {
		kafka := Kafka{ConsumerGroup: m.UUID}
		if m.Kafka != nil {
			kafka.Registry = m.Kafka.Registry
		}
		m.Kafka = &kafka
	}
}

func setDefault[T any](p **T, v T, has bool) {
	if has && *p == nil {
		*p = &v
	}
}

// Check says what is wrong with a mapping, in AWS's words where they are
// known. What the API model bounds has been checked.
func (m *Mapping) Check(now time.Time) error {
	k := m.Kind()
	if k == nil {
		return bad("Unrecognized event source.")
	}
	for _, check := range []func(*Mapping) error{
		k.checkSupported, k.checkRequired, k.checkBatch, k.checkRetries, k.checkPollers,
		func(m *Mapping) error { return k.checkPosition(m, now) }, checkFilters,
	} {
		if err := check(m); err != nil {
			return err
		}
	}
	return nil
}

func bad(format string, args ...any) error {
	return awserr.New("InvalidParameterValueException", format, args...)
}

func unsupported(parameter string) error {
	return bad("Unsupported '%s' parameter for given event source mapping type.", parameter)
}

// given is a setting and whether a source can have it.
type given struct {
	parameter  string
	set, allow bool
}

// checkSupported refuses settings that the source cannot have.
func (k *Kind) checkSupported(m *Mapping) error {
	if m.OnFailure != nil && !k.retries {
		return bad("Unsupported DestinationConfig parameter for given event source mapping type.")
	}
	for _, g := range []given{
		{"maximumBatchingWindowInSeconds", positive(m.BatchingWindow), k.window},
		{"parallelizationFactor", m.Parallelization != nil, k.shards},
		{"tumblingWindowInSeconds", m.TumblingWindow != nil, k.shards},
		{"maximumRecordAgeInSeconds", m.MaximumAge != nil, k.retries},
		{"maximumRetryAttempts", m.MaximumRetries != nil, k.retries},
		{"bisectBatchOnFunctionError", m.Bisect != nil, k.retries},
		{"functionResponseTypes", len(m.ResponseTypes) > 0, k.partial},
		{"scalingConfig", m.MaxConcurrency != nil, k.concurrency},
		{"provisionedPollerConfig", m.Pollers != nil, k.minPollers > 0},
		{"sourceAccessConfigurations", len(m.Access) > 0, len(k.access) > 0},
		{"topics", len(m.Topics) > 0, k.topics},
		{"queues", len(m.Queues) > 0, k.queues},
		{"documentDBEventSourceConfig", m.DocumentDB != nil, k.documentDB},
		{k.kafkaParameter(), m.Kafka != nil, k.kafka},
	} {
		if g.set && !g.allow {
			return unsupported(g.parameter)
		}
	}
	for _, a := range m.Access {
		if !slices.Contains(k.access, a.Type) {
			return bad("Unsupported source access type %s for given event source mapping type. Use one of: %s.", a.Type, strings.Join(k.access, ", "))
		}
	}
	return nil
}

func (k *Kind) kafkaParameter() string {
	if k == MSK {
		return "amazonManagedKafkaEventSourceConfig"
	}
	return "selfManagedKafkaEventSourceConfig"
}

// checkRequired demands what the source cannot be read without.
func (k *Kind) checkRequired(m *Mapping) error {
	for _, g := range []given{
		{"sourceAccessConfigurations", len(m.Access) > 0, k.needsAccess},
		{"topics", len(m.Topics) > 0, k.topics},
		{"queues", len(m.Queues) > 0, k.queues},
		{"documentDBEventSourceConfig.databaseName", m.DocumentDB != nil && m.DocumentDB.Database != "", k.documentDB},
	} {
		if g.allow && !g.set {
			return bad("Required '%s' parameter is missing.", g.parameter)
		}
	}
	return nil
}

func (k *Kind) checkBatch(m *Mapping) error {
	if m.BatchSize == nil {
		return nil
	}
	if *m.BatchSize > k.maxBatch {
		return bad("1 validation error detected: Value '%d' at 'batchSize' failed to satisfy constraint: "+
			"Member must have value less than or equal to %d", *m.BatchSize, k.maxBatch)
	}
	// SQS gives at most ten messages at once, so more of them take waiting.
	if k == SQS && *m.BatchSize > 10 && !positive(m.BatchingWindow) {
		return bad("Maximum batch window in seconds must be greater than 0 if maximum batch size is greater than 10")
	}
	return nil
}

func positive(n *int) bool { return n != nil && *n > 0 }

// minAge is the least age of records that can be given up, in seconds.
const minAge = 60

// destinations are the services that a failed batch's description can go to.
var destinations = []string{"sqs", "sns", "s3"}

func (k *Kind) checkRetries(m *Mapping) error {
	if m.MaximumAge != nil && *m.MaximumAge != -1 && *m.MaximumAge < minAge {
		return bad("MaximumRecordAgeInSeconds must be -1, for records that never expire, or from %d to 604800.", minAge)
	}
	if m.OnFailure == nil || *m.OnFailure == "" {
		return nil
	}
	if k.kafka && strings.HasPrefix(*m.OnFailure, "kafka://") {
		return nil
	}
	const fields = 6
	parts := strings.SplitN(*m.OnFailure, ":", fields)
	if len(parts) != fields || !slices.Contains(destinations, parts[2]) {
		return bad("The provided destination config DestinationConfig(onFailure=OnFailure(destination=%.350s)) is invalid.", *m.OnFailure)
	}
	return nil
}

func (k *Kind) checkPollers(m *Mapping) error {
	p := m.Pollers
	if p == nil {
		return nil
	}
	if m.MaxConcurrency != nil {
		return bad("ScalingConfig and ProvisionedPollerConfig cannot be used together. Give one of them.")
	}
	for _, n := range []*int{p.Minimum, p.Maximum} {
		if n != nil && *n < k.minPollers {
			return bad("ProvisionedPollerConfig needs at least %d pollers for this event source.", k.minPollers)
		}
	}
	if p.Minimum != nil && p.Maximum != nil && *p.Minimum > *p.Maximum {
		return bad("MinimumPollers must not be greater than MaximumPollers.")
	}
	if p.Group != "" && !k.kafka {
		return unsupported("provisionedPollerConfig.pollerGroupName")
	}
	return nil
}

func (k *Kind) checkPosition(m *Mapping, now time.Time) error {
	switch {
	case k.positions == nil && m.Position != "":
		return unsupported("startingPosition")
	case k.positions != nil && m.Position == "":
		return bad("1 validation error detected: Value null at 'startingPosition' failed to satisfy constraint: Member must not be null.")
	case k.positions != nil && !slices.Contains(k.positions, m.Position):
		return bad("Unsupported starting position for arn type: %s", m.ARN)
	}
	at := m.Position == "AT_TIMESTAMP"
	switch {
	case at && m.Timestamp == nil:
		return bad("Need to specify a timestamp")
	case !at && m.Timestamp != nil:
		return bad("StartingPositionTimestamp is for StartingPosition AT_TIMESTAMP only.")
	case at && m.Timestamp.After(now):
		return bad("StartingPositionTimestamp cannot be in the future.")
	}
	return nil
}

func checkFilters(m *Mapping) error {
	if len(m.Filters) > MaxFilters {
		return bad("FilterCriteria can have at most %d filters.", MaxFilters)
	}
	for _, pattern := range m.Filters {
		if _, err := eventfilter.Parse(pattern); err != nil {
			return bad("Invalid filter pattern definition.")
		}
	}
	return nil
}
