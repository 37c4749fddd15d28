package api

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"
)

func TestEveryPatternCompiles(t *testing.T) {
	for name, c := range constraints {
		if c.pattern != "" {
			t.Run(name, func(t *testing.T) { c.matches("") })
		}
	}
}

// TestLongValuesAreNotRepeated keeps a caller from getting back what it sent,
// however long it was.
func TestLongValuesAreNotRepeated(t *testing.T) {
	long := strings.Repeat("é", 5000)
	err := validate(byName()["GetFunction"], &lambda.GetFunctionInput{FunctionName: &long})
	if err == nil || len(err.Error()) > 3*maxShown || !utf8.ValidString(err.Error()) {
		t.Errorf("an error of %d bytes", len(err.Error()))
	}
}

func TestConstraintWords(t *testing.T) {
	const detected = "ValidationException: 1 validation error detected: Value "
	str := func(s string) *string { return &s }
	weights := map[string]float64{"x": 0.1}
	tests := []struct {
		op   string
		in   any
		want string
	}{
		{"CreateAlias", &lambda.CreateAliasInput{FunctionName: str("f"), Name: str("12"), FunctionVersion: str("1")},
			detected + `'12' at 'name' failed to satisfy constraint: Member must satisfy regular expression pattern: (?!^[0-9]+$)([a-zA-Z0-9-_]+)`},
		{"CreateAlias", &lambda.CreateAliasInput{FunctionName: str("f"), Name: str("a12"), FunctionVersion: str("1")}, ""},
		{"CreateAlias", &lambda.CreateAliasInput{FunctionName: str("f"), Name: str("a"), FunctionVersion: str("1"), RoutingConfig: &types.AliasRoutingConfiguration{AdditionalVersionWeights: weights}},
			detected + `'{x=0.1}' at 'routingConfig.additionalVersionWeights' failed to satisfy constraint: Map keys must satisfy constraint: [Member must have length less than or equal to 1024, Member must have length greater than or equal to 1, Member must satisfy regular expression pattern: [0-9]+]`},
		{"CreateEventSourceMapping", &lambda.CreateEventSourceMappingInput{FunctionName: str("f"), BatchSize: aws.Int32(0), EventSourceArn: str("arn:aws:sqs:us-east-1:000000000000:q")},
			detected + `'0' at 'batchSize' failed to satisfy constraint: Member must have value greater than or equal to 1`},
		{"CreateFunctionUrlConfig", &lambda.CreateFunctionUrlConfigInput{FunctionName: str("f")},
			detected + `null at 'authType' failed to satisfy constraint: Member must not be null`},
		{"PutFunctionEventInvokeConfig", &lambda.PutFunctionEventInvokeConfigInput{FunctionName: str("f"), MaximumRetryAttempts: aws.Int32(3)},
			detected + `'3' at 'maximumRetryAttempts' failed to satisfy constraint: Member must have value less than or equal to 2`},
		{"PublishLayerVersion", &lambda.PublishLayerVersionInput{LayerName: str("l"), Content: &types.LayerVersionContentInput{S3Bucket: str("ends.with.")}},
			detected + `'ends.with.' at 'content.s3Bucket' failed to satisfy constraint: Member must satisfy regular expression pattern: [0-9A-Za-z\.\-_]*(?<!\.)`},
	}
	for _, tt := range tests {
		err := validate(byName()[tt.op], tt.in)
		got := ""
		if err != nil {
			got = err.Error()
		}
		if got != tt.want {
			t.Errorf("%s\n got  %s\n want %s", tt.op, got, tt.want)
		}
	}
}
