package api_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"

	"hearth/internal/api"
	"hearth/internal/awserr"
	"hearth/internal/control"
	"hearth/internal/policy"
	"hearth/internal/sigv4"
)

const (
	queueARN  = "arn:aws:sqs:us-east-1:000000000000:q"
	streamARN = "arn:aws:kinesis:us-east-1:000000000000:stream/s"
	tableARN  = "arn:aws:dynamodb:us-east-1:000000000000:table/tab/stream/2026-01-01T00:00:00.000"
)

// mapping creates an event source mapping and waits until it has settled.
func (h hearth) mapping(in *lambda.CreateEventSourceMappingInput) *lambda.GetEventSourceMappingOutput {
	h.t.Helper()
	if in.FunctionName == nil {
		in.FunctionName = aws.String("hi")
	}
	out, err := h.CreateEventSourceMapping(h.t.Context(), in)
	if err != nil {
		h.t.Fatal(err)
	}
	return h.settled(*out.UUID)
}

// settled waits until a mapping is Enabled or Disabled.
func (h hearth) settled(uuid string) *lambda.GetEventSourceMappingOutput {
	h.t.Helper()
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); {
		out, err := h.GetEventSourceMapping(h.t.Context(), &lambda.GetEventSourceMappingInput{UUID: &uuid})
		if err != nil {
			h.t.Fatal(err)
		}
		if *out.State == "Enabled" || *out.State == "Disabled" {
			return out
		}
	}
	h.t.Fatal("the mapping does not settle")
	return nil
}

// shape is an answer as JSON, without what differs from run to run.
func shape(t *testing.T, out any, drop ...string) string {
	t.Helper()
	b, err := json.Marshal(out)
	var m map[string]any
	if err == nil {
		err = json.Unmarshal(b, &m)
	}
	if err != nil {
		t.Fatal(err)
	}
	for k, v := range m {
		if v == nil || v == "" || slices.Contains(append(drop, "ResultMetadata", "LastModified", "UUID", "EventSourceMappingArn"), k) {
			delete(m, k)
		}
	}
	return fmt.Sprint(m)
}

// TestMappingShapes holds what each source shows of a new mapping.
func TestMappingShapes(t *testing.T) {
	h, ctx := startHearth(t), t.Context()
	h.create("hi")
	tests := []struct {
		name string
		in   lambda.CreateEventSourceMappingInput
		want string
	}{
		{"SQS", lambda.CreateEventSourceMappingInput{EventSourceArn: aws.String(queueARN)},
			"map[BatchSize:10 EventSourceArn:" + queueARN + " FunctionArn:" + hiARN + " FunctionResponseTypes:[] MaximumBatchingWindowInSeconds:0 " +
				"State:Creating StateTransitionReason:USER_INITIATED]"},
		{"FIFO", lambda.CreateEventSourceMappingInput{EventSourceArn: aws.String(queueARN + ".fifo")},
			"map[BatchSize:10 EventSourceArn:" + queueARN + ".fifo FunctionArn:" + hiARN + " FunctionResponseTypes:[] MaximumBatchingWindowInSeconds:0 " +
				"State:Creating StateTransitionReason:USER_INITIATED]"},
		{"Kinesis", lambda.CreateEventSourceMappingInput{EventSourceArn: aws.String(streamARN), StartingPosition: types.EventSourcePositionLatest},
			"map[BatchSize:100 BisectBatchOnFunctionError:false DestinationConfig:map[OnFailure:map[Destination:<nil>] OnSuccess:<nil>] EventSourceArn:" + streamARN +
				" FunctionArn:" + hiARN + " FunctionResponseTypes:[] LastProcessingResult:No records processed MaximumBatchingWindowInSeconds:0 " +
				"MaximumRecordAgeInSeconds:-1 MaximumRetryAttempts:-1 ParallelizationFactor:1 StartingPosition:LATEST " +
				"State:Creating StateTransitionReason:User action TumblingWindowInSeconds:0]"},
		{"esm-073", lambda.CreateEventSourceMappingInput{
			SelfManagedEventSource:     &types.SelfManagedEventSource{Endpoints: map[string][]string{"KAFKA_BOOTSTRAP_SERVERS": {"kafka:1000"}}},
			SourceAccessConfigurations: []types.SourceAccessConfiguration{{Type: "BASIC_AUTH", URI: aws.String("arn:aws:secretsmanager:us-east-1:000000000000:secret:s")}},
			StartingPosition:           types.EventSourcePositionTrimHorizon, Topics: []string{"topic"},
		},
			"map[BatchSize:100 FunctionArn:" + hiARN + " LastProcessingResult:No records processed " +
				"SelfManagedEventSource:map[Endpoints:map[KAFKA_BOOTSTRAP_SERVERS:[kafka:1000]]] " +
				"SourceAccessConfigurations:[map[Type:BASIC_AUTH URI:arn:aws:secretsmanager:us-east-1:000000000000:secret:s]] " +
				"StartingPosition:TRIM_HORIZON State:Creating StateTransitionReason:USER_INITIATED Topics:[topic]]"},
	}
	for _, tt := range tests {
		tt.in.FunctionName = aws.String("hi")
		out, err := h.CreateEventSourceMapping(ctx, &tt.in)
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		if got := shape(t, out, "SelfManagedKafkaEventSourceConfig"); got != tt.want {
			t.Errorf("%s:\ngot  %s\nwant %s", tt.name, got, tt.want)
		}
		if tt.name == "esm-073" && *out.SelfManagedKafkaEventSourceConfig.ConsumerGroupId != *out.UUID {
			t.Errorf("%s: consumer group %s", tt.name, *out.SelfManagedKafkaEventSourceConfig.ConsumerGroupId)
		}
		if got := h.settled(*out.UUID); *got.State != "Enabled" || *got.EventSourceMappingArn != "arn:aws:lambda:us-east-1:000000000000:event-source-mapping:"+*out.UUID {
			t.Errorf("%s: %s, %s", tt.name, *got.State, *got.EventSourceMappingArn)
		}
	}
}

// TestMappingLifecycle is esm-067 and what comes before it.
func TestMappingLifecycle(t *testing.T) {
	h, ctx := startHearth(t), t.Context()
	h.create("hi")
	h.publish("hi")
	m := h.mapping(&lambda.CreateEventSourceMappingInput{
		FunctionName: aws.String("hi:1"), EventSourceArn: aws.String(tableARN), StartingPosition: types.EventSourcePositionTrimHorizon, Enabled: aws.Bool(false),
		BatchSize: aws.Int32(1), MaximumBatchingWindowInSeconds: aws.Int32(1), MaximumRetryAttempts: aws.Int32(1),
		DestinationConfig: &types.DestinationConfig{OnFailure: &types.OnFailure{Destination: aws.String(queueARN)}},
		FilterCriteria:    &types.FilterCriteria{Filters: []types.Filter{{Pattern: aws.String(`{"eventName":["INSERT"]}`)}}},
		KMSKeyArn:         aws.String("arn:aws:kms:us-east-1:000000000000:key/k"), Tags: map[string]string{"a": "b"},
	})
	if *m.State != "Disabled" || *m.FunctionArn != hiARN+":1" || len(m.FilterCriteria.Filters) != 1 || *m.KMSKeyArn != "arn:aws:kms:us-east-1:000000000000:key/k" {
		t.Errorf("created: %s", shape(t, m))
	}
	up, err := h.UpdateEventSourceMapping(ctx, &lambda.UpdateEventSourceMappingInput{
		UUID: m.UUID, FunctionName: aws.String("hi"), Enabled: aws.Bool(true), FilterCriteria: &types.FilterCriteria{Filters: []types.Filter{}}, KMSKeyArn: aws.String(""),
	})
	if err != nil || *up.State != "Enabling" || up.FilterCriteria != nil || up.KMSKeyArn != nil || *up.FunctionArn != hiARN {
		t.Fatalf("enabled: %+v, %v", up, err)
	}
	if got := h.settled(*m.UUID); *got.State != "Enabled" || *got.BatchSize != 1 {
		t.Errorf("enabled: %s", shape(t, got))
	}
	if up, err = h.UpdateEventSourceMapping(ctx, &lambda.UpdateEventSourceMappingInput{UUID: m.UUID, BatchSize: aws.Int32(2)}); err != nil || *up.State != "Updating" {
		t.Fatalf("updated: %+v, %v", up, err)
	}
	h.settled(*m.UUID)
	if up, err = h.UpdateEventSourceMapping(ctx, &lambda.UpdateEventSourceMappingInput{UUID: m.UUID, BatchSize: aws.Int32(1), Enabled: aws.Bool(false)}); err != nil || *up.State != "Disabling" {
		t.Fatalf("disabled: %+v, %v", up, err)
	}
	h.settled(*m.UUID)
	if _, err := h.DeleteFunction(ctx, &lambda.DeleteFunctionInput{FunctionName: aws.String("hi")}); err != nil {
		t.Fatal(err)
	}
	out, err := h.DeleteEventSourceMapping(ctx, &lambda.DeleteEventSourceMappingInput{UUID: m.UUID})
	if err != nil {
		t.Fatalf("a deleted function took its mapping along: %v", err)
	}
	want := "map[BatchSize:1 BisectBatchOnFunctionError:false DestinationConfig:map[OnFailure:map[Destination:" + queueARN + "] OnSuccess:<nil>] " +
		"EventSourceArn:" + tableARN + " FunctionArn:" + hiARN + " FunctionResponseTypes:[] LastProcessingResult:No records processed " +
		"MaximumBatchingWindowInSeconds:1 MaximumRecordAgeInSeconds:-1 MaximumRetryAttempts:1 ParallelizationFactor:1 StartingPosition:TRIM_HORIZON " +
		"State:Deleting StateTransitionReason:User action TumblingWindowInSeconds:0]"
	if got := shape(t, out); got != want {
		t.Errorf("esm-067:\ngot  %s\nwant %s", got, want)
	}
	h.gone(*m.UUID)
}

// gone waits until a mapping is not there any more.
func (h hearth) gone(uuid string) {
	h.t.Helper()
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); {
		if _, err := h.GetEventSourceMapping(h.t.Context(), &lambda.GetEventSourceMappingInput{UUID: &uuid}); err != nil {
			want(h.t, "deleted", err, 404, "ResourceNotFoundException", "The resource you requested does not exist.")
			return
		}
	}
	h.t.Error("the mapping does not go away")
}

func TestMappingErrors(t *testing.T) {
	h, ctx := startHearth(t), t.Context()
	h.create("hi")
	queue := h.mapping(&lambda.CreateEventSourceMappingInput{EventSourceArn: aws.String(queueARN)})
	stream := h.mapping(&lambda.CreateEventSourceMappingInput{EventSourceArn: aws.String(streamARN), StartingPosition: types.EventSourcePositionLatest})
	const invalid, conflict = "InvalidParameterValueException", "ResourceConflictException"
	filter := func(n int, pattern string) *types.FilterCriteria {
		return &types.FilterCriteria{Filters: slices.Repeat([]types.Filter{{Pattern: &pattern}}, n)}
	}
	for _, tt := range []struct {
		name        string
		in          lambda.CreateEventSourceMappingInput
		status      int
		code, words string
	}{
		{"esm-069", lambda.CreateEventSourceMappingInput{FunctionName: aws.String("doesnotexist")}, 400, invalid, "Unrecognized event source."},
		{"no function", lambda.CreateEventSourceMappingInput{FunctionName: aws.String("doesnotexist"), EventSourceArn: aws.String(queueARN)}, 400, invalid, "Function does not exist"},
		{"no alias", lambda.CreateEventSourceMappingInput{FunctionName: aws.String("hi:live"), EventSourceArn: aws.String(queueARN)}, 400, invalid, "Function does not exist"},
		{"another account", lambda.CreateEventSourceMappingInput{FunctionName: aws.String("111111111111:function:hi"), EventSourceArn: aws.String(queueARN)}, 400, invalid, "Function does not exist"},
		{"esm-071", lambda.CreateEventSourceMappingInput{EventSourceArn: aws.String(streamARN)}, 400, invalid,
			"1 validation error detected: Value null at 'startingPosition' failed to satisfy constraint: Member must not be null."},
		{"esm-075", lambda.CreateEventSourceMappingInput{EventSourceArn: aws.String(queueARN), BatchSize: aws.Int32(11)}, 400, invalid,
			"Maximum batch window in seconds must be greater than 0 if maximum batch size is greater than 10"},
		{"esm-077", lambda.CreateEventSourceMappingInput{EventSourceArn: aws.String(queueARN)}, 409, conflict,
			`An event source mapping with SQS arn (" ` + queueARN + ` ") and function (" hi ") already exists. Please update or delete the existing mapping with UUID ` + *queue.UUID},
		{"a stream twice", lambda.CreateEventSourceMappingInput{EventSourceArn: aws.String(streamARN), StartingPosition: "LATEST"}, 409, conflict,
			`The event source arn (" ` + streamARN + ` ") and function (" hi ") provided mapping already exists. Please update or delete the existing mapping with UUID ` + *stream.UUID},
		{"kafka without access", lambda.CreateEventSourceMappingInput{
			SelfManagedEventSource: &types.SelfManagedEventSource{Endpoints: map[string][]string{"KAFKA_BOOTSTRAP_SERVERS": {"kafka:1000"}}},
			StartingPosition:       "LATEST", Topics: []string{"topic"},
		}, 400, invalid, "Required 'sourceAccessConfigurations' parameter is missing."},
		{"position", lambda.CreateEventSourceMappingInput{EventSourceArn: aws.String(streamARN), StartingPosition: "invalid"}, 400, "ValidationException",
			"1 validation error detected: Value 'invalid' at 'startingPosition' failed to satisfy constraint: Member must satisfy enum value set: [LATEST, AT_TIMESTAMP, TRIM_HORIZON]"},
		{"on success", lambda.CreateEventSourceMappingInput{EventSourceArn: aws.String(streamARN), StartingPosition: "LATEST",
			DestinationConfig: &types.DestinationConfig{OnSuccess: &types.OnSuccess{Destination: aws.String(queueARN)}}}, 400, invalid,
			"Unsupported DestinationConfig parameter for given event source mapping type."},
		{"filter", lambda.CreateEventSourceMappingInput{EventSourceArn: aws.String(queueARN), FilterCriteria: filter(1, `{"a":1}`)}, 400, invalid, "Invalid filter pattern definition."},
		{"filters", lambda.CreateEventSourceMappingInput{EventSourceArn: aws.String(queueARN), FilterCriteria: filter(6, `{"a":[1]}`)}, 400, invalid, ""},
		{"system tag", lambda.CreateEventSourceMappingInput{EventSourceArn: aws.String(queueARN), Tags: map[string]string{"aws:x": "y"}}, 400, invalid, ""},
	} {
		if tt.in.FunctionName == nil {
			tt.in.FunctionName = aws.String("hi")
		}
		_, err := h.CreateEventSourceMapping(ctx, &tt.in)
		want(t, tt.name, err, tt.status, tt.code, tt.words)
	}
	none := aws.String("12345678-1234-1234-1234-123456789012")
	const words = "The resource you requested does not exist."
	_, err := h.GetEventSourceMapping(ctx, &lambda.GetEventSourceMappingInput{UUID: none})
	want(t, "get", err, 404, "ResourceNotFoundException", words)
	_, err = h.DeleteEventSourceMapping(ctx, &lambda.DeleteEventSourceMappingInput{UUID: none})
	want(t, "delete", err, 404, "ResourceNotFoundException", words)
	_, err = h.UpdateEventSourceMapping(ctx, &lambda.UpdateEventSourceMappingInput{UUID: none, Enabled: aws.Bool(false)})
	want(t, "update", err, 404, "ResourceNotFoundException", words)
	_, err = h.UpdateEventSourceMapping(ctx, &lambda.UpdateEventSourceMappingInput{UUID: queue.UUID, BatchSize: aws.Int32(11)})
	want(t, "update", err, 400, invalid, "Maximum batch window in seconds must be greater than 0 if maximum batch size is greater than 10")
	_, err = h.UpdateEventSourceMapping(ctx, &lambda.UpdateEventSourceMappingInput{UUID: queue.UUID, FunctionName: aws.String("nope")})
	want(t, "update", err, 400, invalid, "Function does not exist")
	_, err = h.ListTags(ctx, &lambda.ListTagsInput{Resource: aws.String("arn:aws:lambda:us-east-1:000000000000:event-source-mapping:" + *none)})
	want(t, "tags", err, 404, "ResourceNotFoundException", "Event source mapping not found: arn:aws:lambda:us-east-1:000000000000:event-source-mapping:"+*none)
}

func TestListMappings(t *testing.T) {
	h, ctx := startHearth(t), t.Context()
	h.create("hi")
	h.create("other")
	all := map[string]bool{}
	for _, in := range []lambda.CreateEventSourceMappingInput{
		{EventSourceArn: aws.String(queueARN)}, {EventSourceArn: aws.String(queueARN), FunctionName: aws.String("other")},
		{EventSourceArn: aws.String(streamARN), StartingPosition: "LATEST"},
	} {
		all[*h.mapping(&in).UUID] = true
	}
	for _, tt := range []struct {
		in   lambda.ListEventSourceMappingsInput
		want int
	}{
		{lambda.ListEventSourceMappingsInput{}, 3},
		{lambda.ListEventSourceMappingsInput{FunctionName: aws.String("hi")}, 2},
		{lambda.ListEventSourceMappingsInput{FunctionName: aws.String(hiARN)}, 2},
		{lambda.ListEventSourceMappingsInput{EventSourceArn: aws.String(queueARN)}, 2},
		{lambda.ListEventSourceMappingsInput{EventSourceArn: aws.String(queueARN), FunctionName: aws.String("other")}, 1},
		{lambda.ListEventSourceMappingsInput{FunctionName: aws.String("nope")}, 0},
	} {
		tt.in.MaxItems = aws.Int32(1)
		seen := map[string]bool{}
		pages := lambda.NewListEventSourceMappingsPaginator(h.Client, &tt.in)
		for pages.HasMorePages() {
			page, err := pages.NextPage(ctx)
			if err != nil || len(page.EventSourceMappings) > 1 {
				t.Fatalf("%+v, %v", page, err)
			}
			for _, m := range page.EventSourceMappings {
				seen[*m.UUID] = all[*m.UUID]
			}
		}
		if len(seen) != tt.want {
			t.Errorf("%s: %v, want %d of %v", shape(t, tt.in), seen, tt.want, all)
		}
	}
}

// limited may do what a policy allows.
type limited struct {
	api.Access // what the tests with it do not use

	policies *policy.Set
}

func (l limited) Authorize(_ context.Context, caller *sigv4.Identity, r *policy.Request, resource *policy.Document) error {
	r.Principal = &policy.Principal{Kind: policy.User, ARN: "arn:aws:iam::" + caller.AccountID + ":user/u", Account: caller.AccountID}
	if d := policy.Evaluate(r, l.policies, resource); !d.Allowed {
		return awserr.New("AccessDeniedException", "%s", d.Reason)
	}
	return nil
}

func (limited) PassRole(context.Context, *sigv4.Identity, *policy.Request, string) error { return nil }

// TestMappingAccess: conditions on lambda:FunctionArn and on tags see what is
// stored of a mapping; moving one takes rights on both functions.
func TestMappingAccess(t *testing.T) {
	d, err := policy.Parse(policy.KindIdentity, "p", []byte(`{"Version":"2012-10-17","Statement":[
		{"Effect":"Allow","Action":"*","Resource":"*"},
		{"Effect":"Deny","Action":"lambda:UpdateEventSourceMapping","Resource":"*","Condition":{"ArnLike":{"lambda:FunctionArn":"arn:aws:lambda:*:*:function:secret"}}},
		{"Effect":"Deny","Action":"lambda:DeleteEventSourceMapping","Resource":"*","Condition":{"StringEquals":{"aws:ResourceTag/keep":"yes"}}}]}`))
	if err != nil {
		t.Fatal(err)
	}
	h, ctx := startHearth(t, func(_ *control.Config, c *api.Config) {
		c.Access = limited{policies: policy.NewSet([]*policy.Document{d}, nil, nil)}
	}), t.Context()
	h.create("hi")
	h.create("secret")
	mine := h.mapping(&lambda.CreateEventSourceMappingInput{EventSourceArn: aws.String(queueARN), Tags: map[string]string{"keep": "yes"}})
	theirs := h.mapping(&lambda.CreateEventSourceMappingInput{EventSourceArn: aws.String(queueARN + "2"), FunctionName: aws.String("secret")})
	for name, in := range map[string]*lambda.UpdateEventSourceMappingInput{
		"its function":     {UUID: theirs.UUID, BatchSize: aws.Int32(1)},
		"away from it":     {UUID: theirs.UUID, FunctionName: aws.String("hi")},
		"to it":            {UUID: mine.UUID, FunctionName: aws.String("secret")},
		"to its latest":    {UUID: mine.UUID, FunctionName: aws.String("secret:$LATEST")},
		"to it, by an ARN": {UUID: mine.UUID, FunctionName: aws.String("arn:aws:lambda:us-east-1:000000000000:function:secret")},
	} {
		_, err := h.UpdateEventSourceMapping(ctx, in)
		want(t, name, err, 403, "AccessDeniedException", "")
	}
	if _, err := h.UpdateEventSourceMapping(ctx, &lambda.UpdateEventSourceMappingInput{UUID: mine.UUID, FunctionName: aws.String("hi")}); err != nil {
		t.Error(err)
	}
	h.settled(*mine.UUID)
	_, err = h.DeleteEventSourceMapping(ctx, &lambda.DeleteEventSourceMappingInput{UUID: mine.UUID})
	want(t, "kept by its tag", err, 403, "AccessDeniedException", "")
	if _, err = h.DeleteEventSourceMapping(ctx, &lambda.DeleteEventSourceMappingInput{UUID: theirs.UUID}); err != nil {
		t.Error(err)
	}
}

func TestMappingTags(t *testing.T) {
	h, ctx := startHearth(t), t.Context()
	h.create("hi")
	m := h.mapping(&lambda.CreateEventSourceMappingInput{EventSourceArn: aws.String(queueARN), Tags: map[string]string{"a": "1"}})
	if _, err := h.TagResource(ctx, &lambda.TagResourceInput{Resource: m.EventSourceMappingArn, Tags: map[string]string{"b": "2"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := h.UntagResource(ctx, &lambda.UntagResourceInput{Resource: m.EventSourceMappingArn, TagKeys: []string{"a", "none"}}); err != nil {
		t.Fatal(err)
	}
	out, err := h.ListTags(ctx, &lambda.ListTagsInput{Resource: m.EventSourceMappingArn})
	if err != nil || len(out.Tags) != 1 || out.Tags["b"] != "2" {
		t.Errorf("%v, %v", out.Tags, err)
	}
}
