package api

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/lambda"

	"hearth/internal/sigv4"
)

// creation is the body of a CreateFunction request; changes replace members,
// a nil value removes one.
func creation(changes map[string]any) string {
	body := map[string]any{
		"FunctionName": "hi", "Role": testRole, "Runtime": "python3.11", "Handler": "app.handler",
		"Code": map[string]any{"ZipFile": base64.StdEncoding.EncodeToString([]byte("zip"))},
	}
	maps.Copy(body, changes)
	maps.DeleteFunc(body, func(_ string, v any) bool { return v == nil })
	b, err := json.Marshal(body)
	if err != nil {
		panic(err)
	}
	return string(b)
}

func failed(t *testing.T, got reply, status int, code, message string) {
	t.Helper()
	var body struct {
		Message string `json:"message"` // or Message: keys match in any case
	}
	if err := json.Unmarshal([]byte(got.body), &body); err != nil {
		t.Fatalf("%v: %v", got, err)
	}
	if got.status != status || got.header.Get("X-Amzn-Errortype") != code || body.Message != message {
		t.Errorf("got  %v\nwant %d %s %s", got, status, code, message)
	}
	if got.header.Get("Content-Type") != "application/json" || len(got.header.Get("X-Amzn-Requestid")) != 36 {
		t.Errorf("header = %v", got.header)
	}
}

// TestCreateErrors holds AWS's words for bad input; those with an id are
// recorded from AWS.
func TestCreateErrors(t *testing.T) {
	long := strings.Repeat("a", 65)
	const detected = "1 validation error detected: Value "
	const param, validation = "InvalidParameterValueException", "ValidationException"
	tests := []struct {
		name    string
		changes map[string]any
		code    string
		message string
	}{
		{"function-007", map[string]any{"Role": "r1"}, validation, detected + `'r1' at 'role' failed to satisfy constraint: Member must satisfy regular expression pattern: arn:(aws[a-zA-Z-]*)?:iam::\d{12}:role/?[a-zA-Z_0-9+=,.@\-_/]+`},
		{"function-009", map[string]any{"Architectures": []string{"x86_64", "arm64"}}, validation, detected + "'[x86_64, arm64]' at 'architectures' failed to satisfy constraint: Member must have length less than or equal to 1"},
		{"function-011", map[string]any{"FunctionName": long}, param, detected + "'" + long + "' at 'functionName' failed to satisfy constraint: Member must have length less than or equal to 64"},
		{"function-019", map[string]any{"Runtime": "java8"}, param, "The runtime parameter of java8 is no longer supported for creating or updating AWS Lambda functions. We recommend you use a supported runtime while creating or updating functions."},
		{"no role", map[string]any{"Role": nil}, validation, detected + "null at 'role' failed to satisfy constraint: Member must not be null"},
		{"no code", map[string]any{"Code": nil}, validation, detected + "null at 'code' failed to satisfy constraint: Member must not be null"},
		{"nothing", map[string]any{"Code": nil, "Role": nil, "FunctionName": nil}, validation,
			"3 validation errors detected: Value null at 'functionName' failed to satisfy constraint: Member must not be null; Value null at 'role' failed to satisfy constraint: Member must not be null; Value null at 'code' failed to satisfy constraint: Member must not be null"},
		{"empty code", map[string]any{"Code": map[string]any{}}, param, "Please provide a source for function code."},
		{"empty zip", map[string]any{"Code": map[string]any{"ZipFile": ""}}, param, "Uploaded file must be a non-empty zip"},
		{"no handler", map[string]any{"Handler": nil}, param, "Runtime and Handler are mandatory parameters for functions created with deployment packages."},
		{"no runtime", map[string]any{"Runtime": nil}, param, "Runtime and Handler are mandatory parameters for functions created with deployment packages."},
		{"handler with space", map[string]any{"Handler": "a b"}, validation, detected + `'a b' at 'handler' failed to satisfy constraint: Member must satisfy regular expression pattern: [^\s]+`},
		{"unknown runtime", map[string]any{"Runtime": "cobol"}, param, "Value cobol at 'runtime' failed to satisfy constraint: Member must satisfy enum value set: [python3.11, nodejs20.x, provided.al2023] or be a valid ARN"},
		{"runtime not built", map[string]any{"Runtime": "java21"}, param, "The runtime java21 is not built on this Hearth. Use one of: python3.11, nodejs20.x, provided.al2023."},
		{"timeout 0", map[string]any{"Timeout": 0}, validation, detected + "'0' at 'timeout' failed to satisfy constraint: Member must have value greater than or equal to 1"},
		{"timeout 901", map[string]any{"Timeout": 901}, validation, detected + "'901' at 'timeout' failed to satisfy constraint: Member must have value less than or equal to 900"},
		{"memory 127", map[string]any{"MemorySize": 127}, validation, detected + "'127' at 'memorySize' failed to satisfy constraint: Member must have value greater than or equal to 128"},
		{"memory 10241", map[string]any{"MemorySize": 10241}, validation, detected + "'10241' at 'memorySize' failed to satisfy constraint: Member must have value less than or equal to 10240"},
		{"storage", map[string]any{"EphemeralStorage": map[string]any{"Size": 511}}, validation, detected + "'511' at 'ephemeralStorage.size' failed to satisfy constraint: Member must have value greater than or equal to 512"},
		{"bad architecture", map[string]any{"Architectures": []string{"vax"}}, validation, detected + "'[vax]' at 'architectures' failed to satisfy constraint: Member must satisfy constraint: [Member must satisfy enum value set: [x86_64, arm64], Member must not be null]"},
		{"other architecture", map[string]any{"Architectures": []string{"arm64"}}, param, "This machine runs x86_64 functions, not arm64. Build the function for x86_64, or deploy it to a Hearth with an arm64 worker."},
		{"variable name", map[string]any{"Environment": map[string]any{"Variables": map[string]string{"1A": "secret"}}}, validation, "1 validation error detected: Value at 'environment.variables' failed to satisfy constraint: Map keys must satisfy constraint: [Member must satisfy regular expression pattern: [a-zA-Z]([a-zA-Z0-9_])+]"},
		{"reserved variables", map[string]any{"Environment": map[string]any{"Variables": map[string]string{"AWS_REGION": "x", "AWS_ACCESS_KEY_ID": "y"}}}, param, "Lambda was unable to configure your environment variables because the environment variables you have provided contains reserved keys that are currently not supported for modification. Reserved keys used in this request: AWS_REGION, AWS_ACCESS_KEY_ID"},
		{"package type", map[string]any{"PackageType": "Tar"}, validation, detected + "'Tar' at 'packageType' failed to satisfy constraint: Member must satisfy enum value set: [Zip, Image]"},
		{"image", map[string]any{"PackageType": "Image"}, param, "Please don't provide Handler or Runtime or Layer when the intended function PackageType is Image."},
		{"six layers", map[string]any{"Layers": slices.Repeat([]string{"arn:aws:lambda:us-east-1:000000000000:layer:l:1"}, 6)}, param, "Cannot reference more than 5 layers."},
		{"layer without version", map[string]any{"Layers": []string{"arn:aws:lambda:us-east-1:000000000000:layer:l"}}, validation, detected +
			`'[arn:aws:lambda:us-east-1:000000000000:layer:l]' at 'layers' failed to satisfy constraint: Member must satisfy constraint: [Member must have length less than or equal to 140, ` +
			`Member must have length greater than or equal to 1, Member must satisfy regular expression pattern: arn:[a-zA-Z0-9-]+:lambda:[a-zA-Z0-9-]+:\d{12}:layer:[a-zA-Z0-9-_]+:[0-9]+, Member must not be null]`},
		{"zip and bucket", map[string]any{"Code": map[string]any{"ZipFile": "eA==", "S3Bucket": "bucket"}}, param, "Please do not provide other FunctionCode parameters when providing a ZipFile."},
		{"bucket without key", map[string]any{"Code": map[string]any{"S3Bucket": "bucket"}}, param, "Please provide both S3Bucket and S3Key."},
		{"log level in text", map[string]any{"LoggingConfig": map[string]any{"ApplicationLogLevel": "DEBUG"}}, param, "To set ApplicationLogLevel or SystemLogLevel, set LogFormat to JSON."},
		{"system tag", map[string]any{"Tags": map[string]string{"aws:x": "y"}}, param, "aws: prefixed tag key names are not allowed for external use."},
		{"other region", map[string]any{"FunctionName": "arn:aws:lambda:eu-west-1:000000000000:function:f"}, "ResourceNotFoundException", "Functions from 'eu-west-1' are not reachable in this region ('us-east-1')"},
	}
	b := start(t)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := b.send(t, "POST", "/2015-03-31/functions", creation(tt.changes))
			status := 400
			if tt.code == "ResourceNotFoundException" {
				status = 404
			}
			failed(t, got, status, tt.code, tt.message)
			if strings.Contains(got.body, "secret") {
				t.Errorf("a sensitive value is in the answer: %v", got)
			}
		})
	}
	if n := len(b.records); n != 0 {
		t.Errorf("%d functions were left behind", n)
	}
}

func TestCreateLimits(t *testing.T) {
	b := start(t)
	t.Run("limits-021", func(t *testing.T) {
		// Past the codec: it is tested with smaller bodies.
		_, _, err := checkCode(make([]byte, 52428801), nil, nil, nil, nil)
		want := "RequestEntityTooLargeException: Zipped size must be smaller than 52428800 bytes"
		if err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	})
	t.Run("limits-023", func(t *testing.T) {
		env := map[string]any{"Variables": map[string]string{"LARGE_VAR": strings.Repeat("x", 4096)}}
		got := b.send(t, "POST", "/2015-03-31/functions", creation(map[string]any{"Environment": env}))
		want := `Lambda was unable to configure your environment variables because the environment variables you have provided exceeded the 4KB limit. String measured: {\"LARGE_VAR\":\"xxx`
		if got.status != 400 || !strings.Contains(got.body, want) {
			t.Errorf("got %.400v", got)
		}
	})
	t.Run("4096 bytes fit", func(t *testing.T) {
		env := map[string]any{"Variables": map[string]string{"VV": strings.Repeat("<", 4096-len(`{"VV":""}`))}}
		if got := b.send(t, "POST", "/2015-03-31/functions", creation(map[string]any{"Environment": env})); got.status != 201 {
			t.Errorf("got %.400v", got)
		}
	})
	t.Run("request too large", func(t *testing.T) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, b.url+"/2015-03-31/functions", io.LimitReader(zeros{}, maxUpload+1))
		if err != nil {
			t.Fatal(err)
		}
		for _, length := range []int64{maxUpload + 1, -1} { // declared, and chunked
			req.ContentLength = length
			req.Body = io.NopCloser(io.LimitReader(zeros{}, maxUpload+1))
			if err := sigv4.Sign(t.Context(), req, testKey, testSecret, sigv4.Scope{Region: testRegion, Service: "lambda"}, nil, time.Now().UTC()); err != nil {
				t.Fatal(err)
			}
			failed(t, do(t, req), 413, "RequestEntityTooLargeException", "Request must be smaller than 70167211 bytes for the CreateFunction operation")
		}
	})
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) {
	clear(b)
	return len(b), nil
}

// TestCreateAnswer is function-001: the shape of a new function.
func TestCreateAnswer(t *testing.T) {
	b := start(t)
	got := b.send(t, "POST", "/2015-03-31/functions", creation(map[string]any{"MemorySize": 256, "Timeout": 5,
		"Environment": map[string]any{"Variables": map[string]string{}}}))
	want := `{"Architectures":["x86_64"],"CodeSha256":"87i1G+cdc24FgJUGdE2iLdQKpfhf0nR1F9aCfxPL88s=","CodeSize":3,"Description":"",` +
		`"Environment":{"Variables":{}},"EphemeralStorage":{"Size":512},` +
		`"FunctionArn":"arn:aws:lambda:us-east-1:000000000000:function:hi","FunctionName":"hi","Handler":"app.handler",` +
		`"LastModified":"2026-01-02T03:04:05.006+0000","LoggingConfig":{"LogFormat":"Text","LogGroup":"/aws/lambda/hi"},` +
		`"MemorySize":256,"PackageType":"Zip","RevisionId":"r1","Role":"arn:aws:iam::000000000000:role/r","Runtime":"python3.11",` +
		`"RuntimeVersionConfig":{"RuntimeVersionArn":"arn:aws:lambda:us-east-1::runtime:` + strings.Repeat("a", 64) + `"},` +
		`"SnapStart":{"ApplyOn":"None","OptimizationStatus":"Off"},"State":"Pending","StateReason":"The function is being created.",` +
		`"StateReasonCode":"Creating","Timeout":5,"TracingConfig":{"Mode":"PassThrough"},"Version":"$LATEST"}`
	if got.status != 201 || got.header.Get("Content-Type") != "application/json" {
		t.Errorf("got %v", got)
	}
	var g, w map[string]any
	if json.Unmarshal([]byte(got.body), &g) != nil || json.Unmarshal([]byte(want), &w) != nil {
		t.Fatal("not JSON")
	}
	delete(g, "CodeSha256")
	delete(w, "CodeSha256")
	if fmt.Sprint(g) != fmt.Sprint(w) {
		t.Errorf("got\n %s\nwant\n %s", got.body, want)
	}
}

func TestReferences(t *testing.T) {
	b := start(t)
	b.create(t, "hi")
	const mine = "arn%3Aaws%3Alambda%3Aus-east-1%3A000000000000%3Afunction%3Ahi"
	tests := []struct {
		name, path    string
		status        int
		code, message string
	}{
		{"function-013", "arn%3Aaws%3Alambda%3Aus-east-1%3A111111111111%3Afunction%3Ahi", 403, "AccessDeniedException",
			"User: arn:aws:iam::000000000000:root is not authorized to perform: lambda:GetFunction on resource: arn:aws:lambda:us-east-1:111111111111:function:hi because no resource-based policy allows the lambda:GetFunction action"},
		{"function-015", mine + "%3A%24LATEST?Qualifier=1", 400, "InvalidParameterValueException", "The derived qualifier from the function name does not match the specified qualifier."},
		{"malformed", "a%20b", 400, "ValidationException", ""},
		{"not there", "nope", 404, "ResourceNotFoundException", "Function not found: arn:aws:lambda:us-east-1:000000000000:function:nope"},
		{"no such version", "hi?Qualifier=1", 404, "ResourceNotFoundException", "Function not found: arn:aws:lambda:us-east-1:000000000000:function:hi:1"},
		{"full", mine, 200, "", ""},
		{"partial", "000000000000%3Afunction%3Ahi", 200, "", ""},
		{"raw colons", "000000000000:function:hi", 200, "", ""},
		{"agreeing qualifiers", "hi%3A%24LATEST?Qualifier=%24LATEST", 200, "", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := b.send(t, "GET", "/2015-03-31/functions/"+tt.path, "")
			if tt.status != 200 && tt.message != "" {
				failed(t, got, tt.status, tt.code, tt.message)
			} else if got.status != tt.status || got.header.Get("X-Amzn-Errortype") != tt.code {
				t.Errorf("got %v", got)
			}
		})
	}
}

// TestEnumOrder is url-085: AWS names the values in an order of its own.
func TestEnumOrder(t *testing.T) {
	op := byName()["CreateFunctionUrlConfig"]
	name := "f"
	err := validate(op, &lambda.CreateFunctionUrlConfigInput{FunctionName: &name, AuthType: "NONE", InvokeMode: "UNKNOWN"})
	want := "ValidationException: 1 validation error detected: Value 'UNKNOWN' at 'invokeMode' failed to satisfy constraint: Member must satisfy enum value set: [RESPONSE_STREAM, BUFFERED]"
	if err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %v", err, want)
	}
}
