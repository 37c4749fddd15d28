package api

import (
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"

	"hearth/internal/eventsource"
)

// mappingSettings are the members that requests to create and to update a
// mapping share. What is nil stays as it is; what is empty is taken away.
type mappingSettings struct {
	enabled                         *bool
	batchSize, batchingWindow       *int32
	parallelization, tumblingWindow *int32
	maximumAge, maximumRetries      *int32
	bisect                          *bool
	destinations                    *types.DestinationConfig
	responseTypes                   []types.FunctionResponseType
	filters                         *types.FilterCriteria
	kmsKey                          *string
	access                          []types.SourceAccessConfiguration
	scaling                         *types.ScalingConfig
	pollers                         *types.ProvisionedPollerConfig
	managedKafka                    *types.AmazonManagedKafkaEventSourceConfig
	selfManagedKafka                *types.SelfManagedKafkaEventSourceConfig
	documentDB                      *types.DocumentDBEventSourceConfig
	metrics                         *types.EventSourceMappingMetricsConfig
	logging                         *types.EventSourceMappingLoggingConfig
}

func settingsInCreate(in *lambda.CreateEventSourceMappingInput) *mappingSettings {
	return &mappingSettings{
		in.Enabled, in.BatchSize, in.MaximumBatchingWindowInSeconds, in.ParallelizationFactor, in.TumblingWindowInSeconds,
		in.MaximumRecordAgeInSeconds, in.MaximumRetryAttempts, in.BisectBatchOnFunctionError, in.DestinationConfig,
		in.FunctionResponseTypes, in.FilterCriteria, in.KMSKeyArn, in.SourceAccessConfigurations, in.ScalingConfig,
		in.ProvisionedPollerConfig, in.AmazonManagedKafkaEventSourceConfig, in.SelfManagedKafkaEventSourceConfig,
		in.DocumentDBEventSourceConfig, in.MetricsConfig, in.LoggingConfig,
	}
}

func settingsInUpdate(in *lambda.UpdateEventSourceMappingInput) *mappingSettings {
	return &mappingSettings{
		in.Enabled, in.BatchSize, in.MaximumBatchingWindowInSeconds, in.ParallelizationFactor, in.TumblingWindowInSeconds,
		in.MaximumRecordAgeInSeconds, in.MaximumRetryAttempts, in.BisectBatchOnFunctionError, in.DestinationConfig,
		in.FunctionResponseTypes, in.FilterCriteria, in.KMSKeyArn, in.SourceAccessConfigurations, in.ScalingConfig,
		in.ProvisionedPollerConfig, in.AmazonManagedKafkaEventSourceConfig, in.SelfManagedKafkaEventSourceConfig,
		in.DocumentDBEventSourceConfig, in.MetricsConfig, in.LoggingConfig,
	}
}

// apply makes the changes in a mapping. Whether its source allows them is
// checked when it is stored.
func (st *mappingSettings) apply(m *eventsource.Mapping) error {
	if st.enabled != nil {
		m.Enabled = *st.enabled
	}
	if st.bisect != nil {
		m.Bisect = st.bisect
	}
	setNumber(&m.BatchSize, st.batchSize)
	setNumber(&m.BatchingWindow, st.batchingWindow)
	setNumber(&m.Parallelization, st.parallelization)
	setNumber(&m.TumblingWindow, st.tumblingWindow)
	setNumber(&m.MaximumAge, st.maximumAge)
	setNumber(&m.MaximumRetries, st.maximumRetries)
	if st.responseTypes != nil {
		m.ResponseTypes = convert[string](st.responseTypes)
	}
	if st.kmsKey != nil {
		m.KMSKey = *st.kmsKey
	}
	if st.metrics != nil {
		m.Metrics = convert[string](st.metrics.Metrics)
	}
	if st.logging != nil {
		m.LogLevel = string(st.logging.SystemLogLevel)
	}
	st.applyFilters(m)
	st.applyPolling(m)
	if err := st.applyDestinations(m); err != nil {
		return err
	}
	return st.applySource(m)
}

func (st *mappingSettings) applyFilters(m *eventsource.Mapping) {
	if st.filters == nil {
		return
	}
	m.Filters = nil
	for _, f := range st.filters.Filters {
		m.Filters = append(m.Filters, str(f.Pattern))
	}
}

func (st *mappingSettings) applyPolling(m *eventsource.Mapping) {
	if st.scaling != nil {
		m.MaxConcurrency = wide(st.scaling.MaximumConcurrency)
	}
	if p := st.pollers; p != nil {
		m.Pollers = &eventsource.Pollers{Minimum: wide(p.MinimumPollers), Maximum: wide(p.MaximumPollers), Group: str(p.PollerGroupName)}
		if *m.Pollers == (eventsource.Pollers{}) {
			m.Pollers = nil
		}
	}
}

// applyDestinations takes a destination for failures; no source has one for
// successes.
func (st *mappingSettings) applyDestinations(m *eventsource.Mapping) error {
	d := st.destinations
	if d == nil {
		return nil
	}
	if d.OnSuccess != nil && str(d.OnSuccess.Destination) != "" {
		return badValue("Unsupported DestinationConfig parameter for given event source mapping type.")
	}
	m.OnFailure = nil // Complete brings back the default of sources that show it
	if d.OnFailure != nil && str(d.OnFailure.Destination) != "" {
		m.OnFailure = d.OnFailure.Destination
	}
	return nil
}

// applySource makes the changes that only one kind of source has.
func (st *mappingSettings) applySource(m *eventsource.Mapping) error {
	if st.access != nil {
		m.Access = nil
		for _, a := range st.access {
			m.Access = append(m.Access, eventsource.Access{Type: string(a.Type), URI: str(a.URI)})
		}
	}
	if d := st.documentDB; d != nil {
		m.DocumentDB = &eventsource.DocumentDB{Database: str(d.DatabaseName), Collection: str(d.CollectionName), FullDocument: string(d.FullDocument)}
	}
	managed := m.Kind() == eventsource.MSK
	if k := st.managedKafka; k != nil {
		if !managed {
			return badValue("Unsupported 'amazonManagedKafkaEventSourceConfig' parameter for given event source mapping type.")
		}
		m.Kafka = &eventsource.Kafka{ConsumerGroup: str(k.ConsumerGroupId), Registry: registryOf(k.SchemaRegistryConfig)}
	}
	if k := st.selfManagedKafka; k != nil {
		if managed {
			return badValue("Unsupported 'selfManagedKafkaEventSourceConfig' parameter for given event source mapping type.")
		}
		if k.ConsumptionMode != "" {
			return badValue("Unsupported 'ConsumptionMode' parameter for given event source mapping type")
		}
		m.Kafka = &eventsource.Kafka{ConsumerGroup: str(k.ConsumerGroupId), Registry: registryOf(k.SchemaRegistryConfig)}
	}
	return nil
}

func registryOf(r *types.KafkaSchemaRegistryConfig) *eventsource.Registry {
	if r == nil {
		return nil
	}
	out := &eventsource.Registry{URI: str(r.SchemaRegistryURI), Format: string(r.EventRecordFormat)}
	for _, a := range r.AccessConfigs {
		out.Access = append(out.Access, eventsource.Access{Type: string(a.Type), URI: str(a.URI)})
	}
	for _, v := range r.SchemaValidationConfigs {
		out.Validate = append(out.Validate, string(v.Attribute))
	}
	return out
}

// setNumber sets a number that was given.
func setNumber(to **int, from *int32) {
	if from != nil {
		*to = wide(from)
	}
}

// wide makes an int of an optional number.
func wide(n *int32) *int {
	if n == nil {
		return nil
	}
	return new(int(*n))
}

// narrow is the reverse of wide.
func narrow(n *int) *int32 {
	if n == nil {
		return nil
	}
	return new(clamp32(*n))
}

// convert changes the type of a list's strings. No list stays none.
func convert[To, From ~string](list []From) []To {
	if list == nil {
		return nil
	}
	out := make([]To, len(list))
	for i, v := range list {
		out[i] = To(v)
	}
	return out
}
