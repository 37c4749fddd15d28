package functionurl

import (
	"bytes"
	"encoding/json"
	"net/http"
)

const (
	// maxPrelude bounds the metadata before a streamed body.
	maxPrelude = 128 << 10
	// zeros is how many zero bytes end the metadata.
	zeros = 8
)

// Prelude takes the metadata off the front of a stream whose content type is
// application/vnd.awslambda.http-integration-response: a JSON object with
// statusCode, headers and cookies, then eight zero bytes, then the body.
type Prelude struct{ held []byte }

// Take reads the next piece. Once the metadata is complete it returns the
// answer, whose Body is the beginning of the body; until then it returns nil.
func (p *Prelude) Take(b []byte) (*Answer, error) {
	searched := max(0, len(p.held)-zeros+1)
	p.held = append(p.held, b...)
	end := bytes.Index(p.held[searched:], make([]byte, zeros))
	if end >= 0 {
		end += searched
	}
	if end > maxPrelude || end < 0 && len(p.held) > maxPrelude {
		return nil, malformed("the metadata before the body has more than %d bytes", maxPrelude)
	}
	if end < 0 {
		return nil, nil
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(p.held[:end], &members); err != nil {
		return nil, malformed("the metadata before the body: %v", err)
	}
	a, err := decodeHead(members, streamType)
	if err != nil {
		return nil, err
	}
	a.Body = p.held[end+zeros:]
	return a, nil
}

// Plain is the answer of a stream without metadata, before its body.
func Plain(contentType string) *Answer {
	if contentType == "" || !isFieldValue(contentType) {
		contentType = streamType
	}
	return &Answer{Status: http.StatusOK, Header: http.Header{"Content-Type": {contentType}}}
}
