package e2e

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

func decode64(t *testing.T, s string) string {
	t.Helper()
	b, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestSignatures is about requests that are not what their signature says, or
// have none: nothing is done, and the words are AWS's.
func TestSignatures(t *testing.T) {
	t.Parallel()
	const mismatch = "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method. Consult the service documentation for details."
	good := aws.Credentials{AccessKeyID: shared.Account.AccessKeyID, SecretAccessKey: shared.Account.SecretAccessKey}
	same := func(*http.Request) {}
	tests := []struct {
		name          string
		keys          aws.Credentials
		at            time.Duration // before now
		service       string
		region        string
		tamper        func(r *http.Request)
		code, message string
	}{
		{name: "wrong secret", keys: aws.Credentials{AccessKeyID: good.AccessKeyID, SecretAccessKey: "wrong"}, tamper: same, code: "InvalidSignatureException", message: mismatch},
		{name: "unknown key", keys: aws.Credentials{AccessKeyID: "AKIAAAAAAAAAAAAAAAAA", SecretAccessKey: "wrong"}, tamper: same,
			code: "UnrecognizedClientException", message: "The security token included in the request is invalid."},
		{name: "token of no session", keys: aws.Credentials{AccessKeyID: good.AccessKeyID, SecretAccessKey: good.SecretAccessKey, SessionToken: "token"}, tamper: same,
			code: "UnrecognizedClientException", message: "The security token included in the request is invalid."},
		{name: "expired", keys: good, at: 10 * time.Minute, tamper: same, code: "InvalidSignatureException", message: "Signature expired: "},
		{name: "from the future", keys: good, at: -10 * time.Minute, tamper: same, code: "InvalidSignatureException", message: "Signature not yet current: "},
		{name: "body", keys: good, code: "InvalidSignatureException", message: mismatch,
			tamper: func(r *http.Request) {
				r.Body, r.ContentLength = io.NopCloser(strings.NewReader(`{"FunctionName":"evil"}`)), 23
			}},
		{name: "path", keys: good, tamper: func(r *http.Request) { r.URL.Path += "/" }, code: "InvalidSignatureException", message: mismatch},
		{name: "query", keys: good, tamper: func(r *http.Request) { r.URL.RawQuery = "x=y" }, code: "InvalidSignatureException", message: mismatch},
		{name: "method", keys: good, tamper: func(r *http.Request) { r.Method = http.MethodPut }, code: "InvalidSignatureException", message: mismatch},
		{name: "date", keys: good, code: "InvalidSignatureException", message: mismatch, tamper: func(r *http.Request) {
			r.Header.Set("X-Amz-Date", time.Now().UTC().Add(time.Second).Format("20060102T150405Z"))
		}},
		{name: "no signature", keys: good, tamper: func(r *http.Request) { r.Header.Del("Authorization") },
			code: "MissingAuthenticationTokenException", message: "Missing Authentication Token"},
		{name: "no sense", keys: good, tamper: func(r *http.Request) { r.Header.Set("Authorization", "Basic Zm9vOmJhcg==") },
			code: "IncompleteSignatureException", message: "Unsupported signing algorithm in the Authorization header"},
		{name: "half a signature", keys: good, code: "IncompleteSignatureException", message: "Authorization header requires 'Signature' parameter.", tamper: func(r *http.Request) {
			head, _, _ := strings.Cut(r.Header.Get("Authorization"), ", Signature=")
			r.Header.Set("Authorization", head)
		}},
		{name: "other region", keys: good, region: "eu-west-1", tamper: same, code: "InvalidSignatureException", message: "Credential should be scoped to a valid region"},
		{name: "other service", keys: good, service: "s3", tamper: same, code: "NotImplementedException", message: "The service 's3' is not served"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			body := []byte(`{"FunctionName":"` + nameOf(t) + `"}`)
			hash := sha256.Sum256(body)
			r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, shared.URL+"/2015-03-31/functions", bytes.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Content-Type", "application/json")
			service, region := test.service, test.region
			if service == "" {
				service = "lambda"
			}
			if region == "" {
				region = "us-east-1"
			}
			if err := v4.NewSigner().SignHTTP(t.Context(), test.keys, r, hex.EncodeToString(hash[:]), service, region, time.Now().Add(-test.at)); err != nil {
				t.Fatal(err)
			}
			test.tamper(r)
			wantRefused(t, r, test.code, test.message)
		})
	}
}

// wantRefused sends a request and checks the error that comes back; the
// message is a prefix.
func wantRefused(t *testing.T, r *http.Request, code, message string) {
	t.Helper()
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var body struct{ Message string } // or message: keys match in any case
	if err := json.NewDecoder(res.Body).Decode(&body); err != nil {
		t.Fatal(err)
	}
	status := http.StatusForbidden
	if code == "NotImplementedException" {
		status = http.StatusNotImplemented
	}
	if res.StatusCode != status || res.Header.Get("X-Amzn-Errortype") != code || !strings.HasPrefix(body.Message, message) {
		t.Errorf("got  %d %s: %s\nwant %d %s: %s…", res.StatusCode, res.Header.Get("X-Amzn-Errortype"), body.Message, status, code, message)
	}
}
