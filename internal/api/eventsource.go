package api

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"
	"github.com/aws/smithy-go"

	"hearth/internal/eventsource"
)

// EventSources is what the control plane does with event source mappings.
type EventSources interface {
	CreateMapping(ctx context.Context, asked *eventsource.Mapping) (*eventsource.Mapping, error)
	// UpdateMapping makes the change that apply makes in a private copy; it
	// may be called more than once.
	UpdateMapping(ctx context.Context, account, uuid string, apply func(next *eventsource.Mapping) error) (*eventsource.Mapping, error)
	DeleteMapping(ctx context.Context, account, uuid string) (*eventsource.Mapping, error)
	Mapping(ctx context.Context, account, uuid string) (*eventsource.Mapping, error)
	// Mappings returns up to limit mappings, of a source and a function if
	// they are not empty, from the one behind after on; next is empty at the
	// end, or the after of the next page.
	Mappings(ctx context.Context, account, source, functionARN, after string, limit int) (list []*eventsource.Mapping, next string, err error)
	TagMapping(ctx context.Context, account, uuid string, add map[string]string, remove []string) error
}

// maxMappings is the most mappings in one answer.
const maxMappings = 100

func (s *Server) eventSourceHandlers() map[string]handler {
	return map[string]handler{
		"CreateEventSourceMapping": on(s.createEventSource),
		"DeleteEventSourceMapping": on(s.deleteEventSource),
		"GetEventSourceMapping":    on(s.getEventSource),
		"ListEventSourceMappings":  on(s.listEventSources),
		"UpdateEventSourceMapping": on(s.updateEventSource),
	}
}

func (s *Server) createEventSource(ctx context.Context, c *call, in *lambda.CreateEventSourceMappingInput) (smithy.Serializable, error) {
	ref, err := s.resolve(c, *in.FunctionName, "")
	if err != nil {
		return nil, err
	}
	if err := checkTags(nil, in.Tags); err != nil {
		return nil, err
	}
	m := &eventsource.Mapping{Account: c.AccountID, Tags: in.Tags}
	m.Function, m.Enabled = ref.String(), true
	m.Source = eventsource.Source{
		ARN: str(in.EventSourceArn), Topics: in.Topics, Queues: in.Queues,
		Position: string(in.StartingPosition), Timestamp: in.StartingPositionTimestamp,
	}
	if in.SelfManagedEventSource != nil {
		m.Servers = in.SelfManagedEventSource.Endpoints[string(types.EndPointTypeKafkaBootstrapServers)]
	}
	if err := settingsInCreate(in).apply(m); err != nil {
		return nil, err
	}
	if m, err = s.cfg.Functions.CreateMapping(ctx, m); err != nil {
		return nil, err
	}
	return shownMapping(m), nil
}

func (s *Server) updateEventSource(ctx context.Context, c *call, in *lambda.UpdateEventSourceMappingInput) (smithy.Serializable, error) {
	function := ""
	if in.FunctionName != nil {
		ref, err := s.resolve(c, *in.FunctionName, "")
		if err != nil {
			return nil, err
		}
		function = ref.String()
	}
	m, err := s.cfg.Functions.UpdateMapping(ctx, c.AccountID, *in.UUID, func(next *eventsource.Mapping) error {
		if function != "" {
			next.Function = function
		}
		return settingsInUpdate(in).apply(next)
	})
	if err != nil {
		return nil, err
	}
	return shownMapping(m), nil
}

func (s *Server) getEventSource(ctx context.Context, c *call, in *lambda.GetEventSourceMappingInput) (smithy.Serializable, error) {
	m, err := s.cfg.Functions.Mapping(ctx, c.AccountID, *in.UUID)
	if err != nil {
		return nil, err
	}
	return shownMapping(m), nil
}

func (s *Server) deleteEventSource(ctx context.Context, c *call, in *lambda.DeleteEventSourceMappingInput) (smithy.Serializable, error) {
	m, err := s.cfg.Functions.DeleteMapping(ctx, c.AccountID, *in.UUID)
	if err != nil {
		return nil, err
	}
	return shownMapping(m), nil
}

func (s *Server) listEventSources(ctx context.Context, c *call, in *lambda.ListEventSourceMappingsInput) (smithy.Serializable, error) {
	after, err := readMarker(in.Marker)
	if err != nil {
		return nil, err
	}
	function := ""
	if in.FunctionName != nil {
		ref, err := s.resolve(c, *in.FunctionName, "")
		if err != nil {
			return nil, err
		}
		function = ref.String()
	}
	limit := maxMappings
	if in.MaxItems != nil {
		limit = max(1, min(limit, int(*in.MaxItems)))
	}
	list, next, err := s.cfg.Functions.Mappings(ctx, c.AccountID, str(in.EventSourceArn), function, after, limit)
	if err != nil {
		return nil, err
	}
	out := &lambda.ListEventSourceMappingsOutput{EventSourceMappings: []types.EventSourceMappingConfiguration{}, NextMarker: marker(next)}
	for _, m := range list {
		out.EventSourceMappings = append(out.EventSourceMappings, *shownMapping(m))
	}
	return out, nil
}
