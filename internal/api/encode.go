package api

import (
	"context"
	"io"
	"net/http"

	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/traits"
	smithyhttp "github.com/aws/smithy-go/transport/http"
	"github.com/aws/smithy-go/transport/http/protocol/restjson1"
)

// answer is an operation's output, ready to be written.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// encoder turns outputs into answers. It drives the SDK's own request
// serializer over the output's schema: outputs use the same header and
// payload traits as inputs, so the bytes are those the SDK's recorded answers
// have.
type encoder struct{ protocol *restjson1.Protocol }

func newEncoder() *encoder { return &encoder{protocol: restjson1.New(nil)} }

// outputOperation is what the request serializer wants to know of an
// operation: nothing that matters for an answer.
var outputOperation = smithy.NewSchema(smithy.ShapeID{Namespace: "hearth", Name: "Output"},
	smithy.ShapeTypeOperation, 0, &traits.HTTP{Method: http.MethodPost, URI: "/", Code: http.StatusOK})

func (e *encoder) encode(op *operation, out smithy.Serializable) (*answer, error) {
	a := &answer{status: op.http.Code, header: http.Header{}}
	if op.schema.Output == nil || out == nil {
		return a, nil
	}
	req := smithyhttp.NewStackRequest().(*smithyhttp.Request)
	bound := &statusBound{out: out, status: &a.status}
	schema := &smithy.OperationSchema{Schema: outputOperation, Input: op.schema.Output}
	if err := e.protocol.SerializeRequest(context.Background(), schema, bound, req); err != nil {
		return nil, err
	}
	a.header = req.Header
	if stream := req.GetStream(); stream != nil {
		body, err := io.ReadAll(stream)
		if err != nil {
			return nil, err
		}
		a.body = body
	}
	if a.status == http.StatusNoContent {
		a.body = nil
		a.header.Del("Content-Type")
	}
	return a, nil
}

// statusBound is an output whose members bound to the HTTP status go there:
// requests have no such members, so the request serializer would put them
// into the body.
type statusBound struct {
	out    smithy.Serializable
	status *int
}

func (b *statusBound) Serialize(s smithy.ShapeSerializer) {
	b.out.Serialize(&statusSerializer{ShapeSerializer: s, status: b.status})
}

type statusSerializer struct {
	smithy.ShapeSerializer
	status *int
}

func (s *statusSerializer) WriteInt32(schema *smithy.Schema, v int32) {
	if _, ok := smithy.SchemaTrait[*traits.HTTPResponseCode](schema); ok {
		*s.status = int(v)
		return
	}
	s.ShapeSerializer.WriteInt32(schema, v)
}
