package api

import (
	"context"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"
	"github.com/aws/smithy-go"

	"hearth/internal/arn"
	"hearth/internal/awserr"
	"hearth/internal/function"
)

func (s *Server) eventInvokeHandlers() map[string]handler {
	return map[string]handler{
		"DeleteFunctionEventInvokeConfig": on(s.deleteEventInvoke),
		"GetFunctionEventInvokeConfig":    on(s.getEventInvoke),
		"ListFunctionEventInvokeConfigs":  on(s.listEventInvoke),
		"PutFunctionEventInvokeConfig":    on(s.putEventInvoke),
		"UpdateFunctionEventInvokeConfig": on(s.updateEventInvoke),
	}
}

// eventInvokeOf is what a request says of asynchronous invokes.
func eventInvokeOf(age, retries *int32, d *types.DestinationConfig) function.EventInvoke {
	var e function.EventInvoke
	if age != nil {
		e.MaximumAge = new(int(*age))
	}
	if retries != nil {
		e.MaximumRetries = new(int(*retries))
	}
	if d == nil {
		return e
	}
	e.HasDestinations = true
	if d.OnSuccess != nil && str(d.OnSuccess.Destination) != "" {
		e.OnSuccess = d.OnSuccess.Destination
	}
	if d.OnFailure != nil && str(d.OnFailure.Destination) != "" {
		e.OnFailure = d.OnFailure.Destination
	}
	return e
}

func (s *Server) putEventInvoke(ctx context.Context, c *call, in *lambda.PutFunctionEventInvokeConfigInput) (smithy.Serializable, error) {
	asked := eventInvokeOf(in.MaximumEventAgeInSeconds, in.MaximumRetryAttempts, in.DestinationConfig)
	return s.setEventInvoke(ctx, c, *in.FunctionName, in.Qualifier, &asked,
		func(arn.Function, *function.EventInvoke) (*function.EventInvoke, error) { return &asked, nil })
}

func (s *Server) updateEventInvoke(ctx context.Context, c *call, in *lambda.UpdateFunctionEventInvokeConfigInput) (smithy.Serializable, error) {
	asked := eventInvokeOf(in.MaximumEventAgeInSeconds, in.MaximumRetryAttempts, in.DestinationConfig)
	return s.setEventInvoke(ctx, c, *in.FunctionName, in.Qualifier, &asked,
		func(ref arn.Function, now *function.EventInvoke) (*function.EventInvoke, error) {
			if now == nil {
				return nil, noEventInvoke(ref)
			}
			next := *now
			if asked.MaximumAge != nil {
				next.MaximumAge = asked.MaximumAge
			}
			if asked.MaximumRetries != nil {
				next.MaximumRetries = asked.MaximumRetries
			}
			if in.DestinationConfig != nil && in.DestinationConfig.OnSuccess != nil {
				next.OnSuccess, next.HasDestinations = asked.OnSuccess, true
			}
			if in.DestinationConfig != nil && in.DestinationConfig.OnFailure != nil {
				next.OnFailure, next.HasDestinations = asked.OnFailure, true
			}
			return &next, nil
		})
}

// setEventInvoke checks and stores what f makes of a configuration.
func (s *Server) setEventInvoke(ctx context.Context, c *call, reference string, qualifier *string, asked *function.EventInvoke,
	f func(arn.Function, *function.EventInvoke) (*function.EventInvoke, error),
) (smithy.Serializable, error) {
	ref, err := s.targeted(c, reference, qualifier)
	if err != nil {
		return nil, err
	}
	if asked.MaximumAge == nil && asked.MaximumRetries == nil && !asked.HasDestinations {
		return nil, badValue("You must specify at least one of error handling or destination setting.")
	}
	if err := checkDestinations(ref, asked); err != nil {
		return nil, err
	}
	e, err := s.cfg.Functions.SetEventInvoke(ctx, ref.Account, ref.Name, ref.Qualifier,
		func(now *function.EventInvoke) (*function.EventInvoke, error) { return f(ref, now) })
	if err != nil {
		return nil, err
	}
	return shownEventInvoke(ref, e), nil
}

// destinations are the services that results can go to; S3 takes failures only.
var destinations = []string{"sqs", "sns", "lambda", "events", "s3"}

func checkDestinations(ref arn.Function, e *function.EventInvoke) error {
	for i, d := range []*string{e.OnSuccess, e.OnFailure} {
		if d == nil {
			continue
		}
		parts := strings.SplitN(*d, ":", 6)
		if len(parts) != 6 || parts[0] != "arn" || !slices.Contains(destinations, parts[2]) || parts[2] == "s3" && i == 0 {
			return badValue("The provided destination config DestinationConfig(%s=%s(destination=%s)) is invalid.",
				[]string{"onSuccess", "onFailure"}[i], []string{"OnSuccess", "OnFailure"}[i], clip(*d))
		}
		if parts[2] == "lambda" {
			if to, err := arn.Parse(*d); err == nil && to.Name == ref.Name && to.Account == ref.Account {
				return badValue("You can't specify the function as a destination for itself.")
			}
		}
	}
	return nil
}

func (s *Server) getEventInvoke(ctx context.Context, c *call, in *lambda.GetFunctionEventInvokeConfigInput) (smithy.Serializable, error) {
	ref, err := s.targeted(c, *in.FunctionName, in.Qualifier)
	if err != nil {
		return nil, err
	}
	// AWS does not tell a missing function from a missing configuration.
	record, err := s.cfg.Functions.Get(ctx, ref.Account, ref.Name)
	if e, ok := awserr.As(err); ok && e.Code != "ResourceNotFoundException" || err != nil && !ok {
		return nil, err
	}
	if record == nil || record.EventInvoke[ref.Qualifier] == nil {
		return nil, noEventInvoke(ref)
	}
	return shownEventInvoke(ref, record.EventInvoke[ref.Qualifier]), nil
}

func (s *Server) deleteEventInvoke(ctx context.Context, c *call, in *lambda.DeleteFunctionEventInvokeConfigInput) (smithy.Serializable, error) {
	ref, err := s.targeted(c, *in.FunctionName, in.Qualifier)
	if err != nil {
		return nil, err
	}
	_, err = s.cfg.Functions.SetEventInvoke(ctx, ref.Account, ref.Name, ref.Qualifier,
		func(now *function.EventInvoke) (*function.EventInvoke, error) {
			if now == nil {
				return nil, noEventInvoke(ref)
			}
			return nil, nil
		})
	return nil, err
}

func (s *Server) listEventInvoke(ctx context.Context, c *call, in *lambda.ListFunctionEventInvokeConfigsInput) (smithy.Serializable, error) {
	ref, record, err := s.whole(ctx, c, *in.FunctionName)
	if err != nil {
		return nil, err
	}
	qualifiers, next, err := pageOf(record.EventInvoke, in.Marker, in.MaxItems)
	if err != nil {
		return nil, err
	}
	out := &lambda.ListFunctionEventInvokeConfigsOutput{FunctionEventInvokeConfigs: []types.FunctionEventInvokeConfig{}, NextMarker: next}
	for _, q := range qualifiers {
		ref.Qualifier = q
		out.FunctionEventInvokeConfigs = append(out.FunctionEventInvokeConfigs, *shownEventInvoke(ref, record.EventInvoke[q]))
	}
	return out, nil
}

// targeted resolves a reference to what can be configured for itself: $LATEST
// if there is no qualifier.
func (s *Server) targeted(c *call, reference string, qualifier *string) (arn.Function, error) {
	ref, err := s.resolve(c, reference, str(qualifier))
	if ref.Qualifier == "" {
		ref.Qualifier = function.LatestVersion
	}
	return ref, err
}

func noEventInvoke(ref arn.Function) error {
	return awserr.New("ResourceNotFoundException", "The function %s doesn't have an EventInvokeConfig", ref)
}

func shownEventInvoke(ref arn.Function, e *function.EventInvoke) *types.FunctionEventInvokeConfig {
	out := &types.FunctionEventInvokeConfig{
		FunctionArn: new(ref.String()), LastModified: &e.LastModified,
		DestinationConfig: &types.DestinationConfig{
			OnSuccess: &types.OnSuccess{Destination: e.OnSuccess},
			OnFailure: &types.OnFailure{Destination: e.OnFailure},
		},
	}
	if e.MaximumAge != nil {
		out.MaximumEventAgeInSeconds = new(clamp32(*e.MaximumAge))
	}
	if e.MaximumRetries != nil {
		out.MaximumRetryAttempts = new(clamp32(*e.MaximumRetries))
	}
	return out
}
