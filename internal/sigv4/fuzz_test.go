package sigv4

import (
	"bytes"
	"net/http"
	"net/url"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

func signDeclared(r *http.Request, hash string) error {
	return v4.NewSigner().SignHTTP(r.Context(), aws.Credentials{AccessKeyID: testKey, SecretAccessKey: testSecret}, r, hash, "lambda", "us-east-1", testTime)
}

// FuzzBegin feeds the parsers of header and query. Nobody without the secret
// may ever get past Check.
func FuzzBegin(f *testing.F) {
	f.Add("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20260304/us-east-1/lambda/aws4_request, SignedHeaders=host;x-amz-date, Signature=00", "20260304T050607Z", "", "/x", "a=b")
	f.Add("", "", "", "/", "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIDEXAMPLE%2F20260304%2Fus-east-1%2Flambda%2Faws4_request&X-Amz-Date=20260304T050607Z&X-Amz-Expires=60&X-Amz-SignedHeaders=host&X-Amz-Signature=5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7")
	f.Add("AWS4-HMAC-SHA256 Credential=////,SignedHeaders=;,Signature=", "x", streamingTrailer, "/%zz", "%")
	f.Fuzz(func(t *testing.T, authorization, date, declared, uri, query string) {
		r := &http.Request{
			Method: http.MethodGet, Host: "h", RequestURI: uri,
			URL: &url.URL{Path: "/x", RawQuery: query},
			Header: http.Header{
				"Authorization": {authorization}, "X-Amz-Date": {date}, "X-Amz-Content-Sha256": {declared},
			},
		}
		p, err := newTestVerifier(testTime).Begin(r)
		if err != nil {
			if code(err) == "" {
				t.Fatalf("an error that is not AWS's: %v", err)
			}
			return
		}
		if _, err := p.Check(nil); err == nil {
			t.Fatal("verified without the secret")
		}
	})
}

// FuzzChunks feeds the decoder of chunked bodies, with the seed signature
// right.
func FuzzChunks(f *testing.F) {
	_, body, _ := chunkedExample(f)
	f.Add(body[:200], false)
	f.Add([]byte("0;chunk-signature=b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9\r\n\r\n"), false)
	f.Add([]byte("x:y\r\nx-amz-trailer-signature:00\r\n"), true)
	f.Fuzz(func(t *testing.T, body []byte, trailer bool) {
		r, _, v := chunkedExample(t)
		p, err := v.Begin(r)
		if err != nil {
			t.Fatal(err)
		}
		if trailer {
			p.declared = streamingTrailer
		}
		if got, err := p.Check(bytes.Clone(body)); err == nil && len(got) > 0 {
			t.Fatalf("verified %q without the secret", got)
		}
	})
}
