package api

import (
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"

	"hearth/internal/eventsource"
)

// shownMapping is a mapping as the API shows it: what its source does not
// have, and what was not given and has no default, is not there.
func shownMapping(m *eventsource.Mapping) *types.EventSourceMappingConfiguration {
	arn, state := m.MappingARN(), string(m.State)
	out := &types.EventSourceMappingConfiguration{
		UUID: &m.UUID, EventSourceMappingArn: &arn, EventSourceArn: optional(m.ARN), FunctionArn: &m.Function,
		State: &state, StateTransitionReason: &m.Reason, LastModified: &m.LastModified, LastProcessingResult: optional(m.LastResult),
		StartingPosition: types.EventSourcePosition(m.Position), StartingPositionTimestamp: m.Timestamp,
		Topics: m.Topics, Queues: m.Queues,

		BatchSize:                      narrow(m.BatchSize),
		MaximumBatchingWindowInSeconds: narrow(m.BatchingWindow),
		ParallelizationFactor:          narrow(m.Parallelization),
		TumblingWindowInSeconds:        narrow(m.TumblingWindow),
		MaximumRecordAgeInSeconds:      narrow(m.MaximumAge),
		MaximumRetryAttempts:           narrow(m.MaximumRetries),
		BisectBatchOnFunctionError:     m.Bisect,
		FunctionResponseTypes:          convert[types.FunctionResponseType](m.ResponseTypes),
		KMSKeyArn:                      optional(m.KMSKey),
	}
	if len(m.Servers) > 0 {
		out.SelfManagedEventSource = &types.SelfManagedEventSource{
			Endpoints: map[string][]string{string(types.EndPointTypeKafkaBootstrapServers): m.Servers},
		}
	}
	if m.OnFailure != nil {
		out.DestinationConfig = &types.DestinationConfig{OnFailure: &types.OnFailure{Destination: optional(*m.OnFailure)}}
	}
	if len(m.Filters) > 0 {
		out.FilterCriteria = &types.FilterCriteria{}
		for i := range m.Filters {
			out.FilterCriteria.Filters = append(out.FilterCriteria.Filters, types.Filter{Pattern: &m.Filters[i]})
		}
	}
	showPolling(out, m)
	showSource(out, m)
	return out
}

func showPolling(out *types.EventSourceMappingConfiguration, m *eventsource.Mapping) {
	if m.MaxConcurrency != nil {
		out.ScalingConfig = &types.ScalingConfig{MaximumConcurrency: narrow(m.MaxConcurrency)}
	}
	if p := m.Pollers; p != nil {
		out.ProvisionedPollerConfig = &types.ProvisionedPollerConfig{
			MinimumPollers: narrow(p.Minimum), MaximumPollers: narrow(p.Maximum), PollerGroupName: optional(p.Group),
		}
	}
	if len(m.Metrics) > 0 {
		out.MetricsConfig = &types.EventSourceMappingMetricsConfig{Metrics: convert[types.EventSourceMappingMetric](m.Metrics)}
	}
	if m.LogLevel != "" {
		out.LoggingConfig = &types.EventSourceMappingLoggingConfig{SystemLogLevel: types.EventSourceMappingSystemLogLevel(m.LogLevel)}
	}
}

// showSource adds what only one kind of source has.
func showSource(out *types.EventSourceMappingConfiguration, m *eventsource.Mapping) {
	for i := range m.Access {
		a := &m.Access[i]
		out.SourceAccessConfigurations = append(out.SourceAccessConfigurations,
			types.SourceAccessConfiguration{Type: types.SourceAccessType(a.Type), URI: &a.URI})
	}
	if d := m.DocumentDB; d != nil {
		out.DocumentDBEventSourceConfig = &types.DocumentDBEventSourceConfig{
			DatabaseName: &d.Database, CollectionName: optional(d.Collection), FullDocument: types.FullDocument(d.FullDocument),
		}
	}
	k := m.Kafka
	switch {
	case k == nil:
	case m.Kind() == eventsource.MSK:
		out.AmazonManagedKafkaEventSourceConfig = &types.AmazonManagedKafkaEventSourceConfig{
			ConsumerGroupId: &k.ConsumerGroup, SchemaRegistryConfig: shownRegistry(k.Registry),
		}
	default:
		out.SelfManagedKafkaEventSourceConfig = &types.SelfManagedKafkaEventSourceConfig{
			ConsumerGroupId: &k.ConsumerGroup, SchemaRegistryConfig: shownRegistry(k.Registry),
		}
	}
}

func shownRegistry(r *eventsource.Registry) *types.KafkaSchemaRegistryConfig {
	if r == nil {
		return nil
	}
	out := &types.KafkaSchemaRegistryConfig{
		SchemaRegistryURI: optional(r.URI), EventRecordFormat: types.SchemaRegistryEventRecordFormat(r.Format),
	}
	for i := range r.Access {
		a := &r.Access[i]
		out.AccessConfigs = append(out.AccessConfigs, types.KafkaSchemaRegistryAccessConfig{Type: types.KafkaSchemaRegistryAuthType(a.Type), URI: &a.URI})
	}
	for _, v := range r.Validate {
		out.SchemaValidationConfigs = append(out.SchemaValidationConfigs, types.KafkaSchemaValidationConfig{Attribute: types.KafkaSchemaValidationAttribute(v)})
	}
	return out
}
