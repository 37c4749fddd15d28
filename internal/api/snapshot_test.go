package api

import (
	"bufio"
	"bytes"
	"io"
	"maps"
	"net/http"
	"net/textproto"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"
	"github.com/aws/smithy-go/transport/http/protocol/restjson1"

	"hearth/internal/awserr"
)

// The SDK's module holds a recorded request for 87 operations and a recorded
// answer for 87 operations and 56 errors. They are the test vectors of the
// codec.

// sdkDir is the SDK module's directory, with its snapshots.
func sdkDir(t *testing.T) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", "github.com/aws/aws-sdk-go-v2/service/lambda").Output()
	dir := strings.TrimSpace(string(out))
	if err != nil || dir == "" {
		t.Skip("the SDK's module is not in a module cache: ", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "request_snapshot")); err != nil {
		t.Skip("the SDK's module is without its snapshots: ", err)
	}
	return dir
}

// snapshot is a recorded message: its first line, headers and body.
type snapshot struct {
	first  string
	header http.Header
	body   []byte
}

func readSnapshots(t *testing.T, dir, suffix string) map[string]snapshot {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*"+suffix))
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]snapshot{}
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		first, rest, _ := bytes.Cut(raw, []byte("\n"))
		rest = bytes.TrimPrefix(rest, []byte("\n")) // requests have an empty line here
		s := snapshot{first: string(first), header: http.Header{}}
		if len(rest) > 0 && rest[0] != '\n' {
			head, body, _ := bytes.Cut(rest, []byte("\n\n"))
			h, err := textproto.NewReader(bufio.NewReader(bytes.NewReader(append(head, "\n\n"...)))).ReadMIMEHeader()
			if err != nil {
				t.Fatalf("%s: %v", file, err)
			}
			s.header, s.body = http.Header(h), body
		} else {
			s.body = bytes.TrimPrefix(rest, []byte("\n"))
		}
		all[strings.TrimSuffix(filepath.Base(file), suffix)] = s
	}
	return all
}

func byName() map[string]*operation {
	prepareOperations()
	m := map[string]*operation{}
	for _, op := range operations {
		m[op.name] = op
	}
	return m
}

// TestRequestSnapshots decodes every recorded request and serialises it again
// with the SDK: nothing may be lost.
func TestRequestSnapshots(t *testing.T) {
	ops := byName()
	snaps := readSnapshots(t, filepath.Join(sdkDir(t), "request_snapshot"), ".request.snap")
	if len(snaps) != 87 || len(ops) != 88 {
		t.Fatalf("%d requests and %d operations, want 87 and 88 (InvokeWithResponseStream has no snapshot)", len(snaps), len(ops))
	}
	r := newRouter(operations)
	for name, want := range snaps {
		t.Run(name, func(t *testing.T) {
			method, uri, _ := strings.Cut(want.first, " ")
			u, err := url.ParseRequestURI(uri)
			if err != nil {
				t.Fatal(err)
			}
			m, ok := r.route(method, u.EscapedPath(), u.Query())
			if !ok || m.op.name != name {
				t.Fatalf("routed to %+v", m.op)
			}
			in, err := m.op.decode(m.labels, u.Query(), want.header, want.body)
			if err != nil {
				t.Fatal(err)
			}
			got := serialize(t, m.op, in.(smithy.Serializable))
			if got.first != want.first {
				t.Errorf("first line %q, want %q", got.first, want.first)
			}
			if !bytes.Equal(got.body, want.body) {
				t.Errorf("body\n %s\nwant\n %s", got.body, want.body)
			}
			if !maps.EqualFunc(got.header, want.header, slices.Equal) {
				t.Errorf("header %v, want %v", got.header, want.header)
			}
		})
	}
}

// serialize writes an input as the SDK's client does.
func serialize(t *testing.T, op *operation, in smithy.Serializable) snapshot {
	t.Helper()
	req := smithyhttp.NewStackRequest().(*smithyhttp.Request)
	req.URL = &url.URL{Scheme: "http", Host: "h"}
	if err := restjson1.New(nil).SerializeRequest(t.Context(), op.schema, in, req); err != nil {
		t.Fatal(err)
	}
	s := snapshot{first: req.Method + " " + req.URL.RequestURI(), header: req.Header}
	if stream := req.GetStream(); stream != nil {
		var err error
		if s.body, err = io.ReadAll(stream); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// TestResponseSnapshots reads every recorded answer with the SDK and encodes
// it again.
func TestResponseSnapshots(t *testing.T) {
	// bodies that differ, and why
	exceptions := map[string]string{
		"DeleteFunction": "the recorded body repeats the HTTP status, which AWS does not send",
		"InvokeAsync":    "the recorded body repeats the HTTP status, which AWS does not send",
	}
	ops := byName()
	e := newEncoder()
	for name, want := range readSnapshots(t, filepath.Join(sdkDir(t), "response_snapshot"), ".response.snap") {
		t.Run(name, func(t *testing.T) {
			op := ops[name]
			status, err := strconv.Atoi(want.first)
			if err != nil {
				t.Fatal(err)
			}
			method, _ := reflect.TypeFor[*lambda.Client]().MethodByName(name)
			out := reflect.New(method.Type.Out(0).Elem()).Interface().(interface {
				smithy.Serializable
				smithy.Deserializable
			})
			res := &smithyhttp.Response{Response: &http.Response{StatusCode: status, Header: want.header, Body: io.NopCloser(bytes.NewReader(want.body))}}
			if err := restjson1.New(nil).DeserializeResponse(t.Context(), op.schema, lambda.TypeRegistry, res, out); err != nil {
				t.Fatal(err)
			}
			got, err := e.encode(op, out)
			if err != nil {
				t.Fatal(err)
			}
			if why := exceptions[name]; why != "" {
				if bytes.Equal(got.body, want.body) {
					t.Errorf("no exception any more: %s", why)
				}
				return
			}
			if got.status != http.StatusNoContent && !bytes.Equal(got.body, want.body) {
				t.Errorf("body\n %s\nwant\n %s", got.body, want.body)
			}
			if got.status != http.StatusNoContent && !maps.EqualFunc(got.header, want.header, slices.Equal) {
				t.Errorf("header %v, want %v", got.header, want.header)
			}
		})
	}
}

// TestErrorSnapshots holds the table of error codes against the recorded
// errors: status, and the key of the text.
func TestErrorSnapshots(t *testing.T) {
	for name, want := range readSnapshots(t, filepath.Join(sdkDir(t), "response_snapshot"), ".error.snap") {
		e := awserr.New(name, "__Message__")
		if got := strconv.Itoa(e.HTTPStatus()); got != want.first {
			t.Errorf("%s: status %s, want %s", name, got, want.first)
		}
		for key := range e.Body() {
			if !bytes.Contains(want.body, []byte(`"`+key+`":`)) {
				t.Errorf("%s: key %q is not in %s", name, key, want.body)
			}
		}
	}
}
