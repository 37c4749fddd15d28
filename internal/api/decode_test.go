package api

import (
	"encoding/json"
	"net/http"
	"net/url"
	"reflect"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/smithy-go"

	"hearth/internal/awserr"
)

func TestRoute(t *testing.T) {
	byName()
	r := newRouter(operations)
	tests := []struct{ method, path, query, want string }{
		{"GET", "/2015-03-31/functions", "", "ListFunctions"},
		{"GET", "/2015-03-31/functions/", "", "ListFunctions"}, // as older SDKs send it
		{"POST", "/2015-03-31/functions", "", "CreateFunction"},
		{"POST", "/2014-11-13/functions/f/invoke-async/", "", "InvokeAsync"},
		{"GET", "/2018-10-31/layers", "", "ListLayers"},
		{"GET", "/2018-10-31/layers", "find=LayerVersion&Arn=x", "GetLayerVersionByArn"},
		{"GET", "/2019-09-30/functions/f/provisioned-concurrency", "List=ALL", "ListProvisionedConcurrencyConfigs"},
		{"GET", "/2019-09-30/functions/f/provisioned-concurrency", "List=SOME", "GetProvisionedConcurrencyConfig"},
		{"GET", "/2019-09-25/functions/f/event-invoke-config/list", "", "ListFunctionEventInvokeConfigs"},
		{"GET", "/2017-03-31/tags/arn%3Aaws%3Alambda%3Aus-east-1%3A000000000000%3Afunction%3Af", "", "ListTags"},
		{"GET", "/2025-12-01/durable-executions/arn%3Ax%2Fdurable-execution%2Fa%2Fb/history", "", "GetDurableExecutionHistory"},
		{"PATCH", "/2015-03-31/functions", "", ""},
		{"PUT", "/2015-03-31/functions", "", ""},
		{"GET", "/", "", ""},
		{"GET", "", "", ""},
		{"GET", "/2015-03-31/functions//configuration", "", ""},
		{"GET", "/2015-03-31/functions/%zz", "", ""},
		{"GET", "/2015-03-31/functions/f/more/than/there/is", "", ""},
		{"GET", "/2015-03-31", "", ""},
	}
	for _, tt := range tests {
		query, err := url.ParseQuery(tt.query)
		if err != nil {
			t.Fatal(err)
		}
		m, ok := r.route(tt.method, tt.path, query)
		got := ""
		if ok {
			got = m.op.name
		}
		if got != tt.want {
			t.Errorf("%s %s?%s is %q, want %q", tt.method, tt.path, tt.query, got, tt.want)
		}
	}
}

func TestRouteDecodesLabels(t *testing.T) {
	byName()
	m, ok := newRouter(operations).route("GET", "/2015-03-31/functions/a%2Fb%3Ac/aliases/%24x", nil)
	want := []label{{"FunctionName", "a/b:c"}, {"Name", "$x"}}
	if !ok || !reflect.DeepEqual(m.labels, want) {
		t.Errorf("labels = %v, want %v", m.labels, want)
	}
}

func decodeBody(t *testing.T, name, body string) (any, error) {
	t.Helper()
	return byName()[name].decode(nil, nil, http.Header{}, []byte(body))
}

func TestDecodeErrors(t *testing.T) {
	tests := []struct{ body, want string }{
		{`{"Timeout":"3"}`, "STRING_VALUE cannot be converted to Integer"},
		{`{"Timeout":true}`, "TRUE_VALUE cannot be converted to Integer"},
		{`{"Timeout":3.5}`, "3.5 cannot be converted to Integer"},
		{`{"Timeout":99999999999}`, "99999999999 cannot be converted to Integer"},
		{`{"Timeout":1e999}`, "1e999 is out of range"},
		{`{"Timeout":[3]}`, "Start of list found where not expected"},
		{`{"Handler":7}`, "NUMBER_VALUE cannot be converted to String"},
		{`{"Handler":{}}`, "Start of structure or map found where not expected."},
		{`{"Publish":"true"}`, "STRING_VALUE cannot be converted to Boolean"},
		{`{"Layers":"x"}`, "STRING_VALUE cannot be converted to List"},
		{`{"Layers":[1]}`, "NUMBER_VALUE cannot be converted to String"},
		{`{"Tags":[]}`, "Start of list found where not expected"},
		{`{"Tags":{"a":1}}`, "NUMBER_VALUE cannot be converted to String"},
		{`{"Code":"x"}`, "STRING_VALUE cannot be converted to Structure"},
		{`{"Code":{"ZipFile":"!"}}`, "a blob is not base64: illegal base64 data at input byte 0"},
		{`{"Code":{"ZipFile":false}}`, "FALSE_VALUE cannot be converted to Blob"},
		{`[]`, "Start of list found where not expected"},
		{`{"Timeout":3`, "the body is not JSON: unexpected end of JSON input"},
		{`{} {}`, "the body is not JSON: invalid character '{' after top-level value"},
		{"{\"Handler\":\"\xff\"}", "the body is not UTF-8"},
		{strings.Repeat("[", 100000), "the body is not JSON: invalid character '[' exceeded max depth"},
	}
	for _, tt := range tests {
		_, err := decodeBody(t, "CreateFunction", tt.body)
		e, ok := awserr.As(err)
		if !ok || e.Code != "SerializationException" || e.Message != tt.want {
			t.Errorf("%.60s: %v, want %q", tt.body, err, tt.want)
		}
	}
}

func TestDecodeLeniency(t *testing.T) {
	in, err := decodeBody(t, "CreateFunction", ` { "Unknown" : {"a":["}",{"b":"\\\""}]} , "Timeout":3e0, "MemorySize":null,
		"handler":"not this", "Handler":"a\u00e9\"\\", "Tags":{"k":"v","null":null}, "Layers":[], "Timeout":4 } `)
	if err != nil {
		t.Fatal(err)
	}
	got := in.(*lambda.CreateFunctionInput)
	if *got.Timeout != 4 || got.MemorySize != nil || *got.Handler != `aé"\` || len(got.Tags) != 1 || got.Layers == nil {
		t.Errorf("decoded %+v", got)
	}
}

// TestBodyCannotSetLabels makes sure that a member of the path is not taken
// from the body.
func TestBodyCannotSetLabels(t *testing.T) {
	in, err := decodeBody(t, "UpdateFunctionConfiguration", `{"FunctionName":"other"}`)
	if err != nil || in.(*lambda.UpdateFunctionConfigurationInput).FunctionName != nil {
		t.Errorf("decoded %+v, %v", in, err)
	}
}

// FuzzDecode feeds every operation's decoder and validator. What decodes must
// come out the same after a trip through the SDK's serializer.
func FuzzDecode(f *testing.F) {
	byName()
	f.Add(byte(7), []byte(`{"Code":{"ZipFile":"YmxvYg=="},"Environment":{"Variables":{"A":"b"}},"Timeout":3}`))
	f.Add(byte(6), []byte(`{"StartingPositionTimestamp":1.7e9,"FilterCriteria":{"Filters":[{"Pattern":"{}"}]}}`))
	f.Add(byte(2), []byte(`{"Updates":[{"Id":"a","Type":"STEP"}]}`))
	f.Fuzz(func(t *testing.T, index byte, body []byte) {
		op := operations[int(index)%len(operations)]
		in, err := op.decode(nil, nil, http.Header{}, body)
		if err != nil {
			if _, ok := awserr.As(err); !ok {
				t.Fatalf("an error that is not AWS's: %v", err)
			}
			return
		}
		_ = validate(op, in)
		if !op.hasBody || len(body) == 0 {
			return
		}
		once := bodyOf(t, in)
		again, err := op.decode(nil, nil, http.Header{}, once)
		if err != nil {
			t.Fatalf("%s: own output %s: %v", op.name, once, err)
		}
		if twice := bodyOf(t, again); !reflect.DeepEqual(sorted(t, once), sorted(t, twice)) {
			t.Fatalf("%s: %s became %s", op.name, once, twice)
		}
	})
}

// bodyOf serialises an input's body.
func bodyOf(t *testing.T, in any) []byte {
	t.Helper()
	a, err := newEncoder().encode(byName()["CreateFunction"], in.(smithy.Serializable))
	if err != nil {
		t.Fatal(err)
	}
	return a.body
}

func sorted(t *testing.T, body []byte) any {
	t.Helper()
	var v any
	if len(body) > 0 {
		if err := json.Unmarshal(body, &v); err != nil {
			t.Fatal(err)
		}
	}
	return v
}
