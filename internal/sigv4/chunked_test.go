package sigv4

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"
)

// chunkedExample is the example of AWS's documentation of chunked uploads:
// 65 KiB of the letter a in two chunks.
func chunkedExample(t testing.TB) (*http.Request, []byte, *Verifier) {
	t.Helper()
	var body bytes.Buffer
	chunk := func(size int, signature string) {
		fmt.Fprintf(&body, "%x;chunk-signature=%s\r\n%s\r\n", size, signature, strings.Repeat("a", size))
	}
	chunk(65536, "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648")
	chunk(1024, "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497")
	chunk(0, "b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9")
	r := newRequest(t, "PUT", "https://s3.amazonaws.com/examplebucket/chunkObject.txt", body.String())
	for k, v := range map[string]string{
		"X-Amz-Date": "20130524T000000Z", "X-Amz-Storage-Class": "REDUCED_REDUNDANCY",
		"X-Amz-Content-Sha256": streamingPayload, "Content-Encoding": "aws-chunked",
		"X-Amz-Decoded-Content-Length": strconv.Itoa(66560),
		"Authorization": "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request," +
			"SignedHeaders=content-encoding;content-length;host;x-amz-content-sha256;x-amz-date;x-amz-decoded-content-length;x-amz-storage-class," +
			"Signature=4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9",
	} {
		r.Header.Set(k, v)
	}
	keys := &oneKey{id: "AKIAIOSFODNN7EXAMPLE", secret: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"}
	return r, body.Bytes(), NewVerifier(keys, func() time.Time { return time.Date(2013, 5, 24, 0, 0, 0, 0, time.UTC) })
}

func TestChunkedExample(t *testing.T) {
	r, body, v := chunkedExample(t)
	p, err := v.Begin(r)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := p.Check(body); err != nil || string(got) != strings.Repeat("a", 66560) {
		t.Errorf("Check = %d bytes, %v; want 66560", len(got), err)
	}
}

func TestChunkedTampering(t *testing.T) {
	first := len("10000;chunk-signature=") + 64 + 2 + 65536 + 2
	tests := []struct {
		name   string
		change func([]byte) []byte
		want   string
	}{
		{"data", func(b []byte) []byte { b[1000] = 'b'; return b }, "InvalidSignatureException"},
		{"signature", func(b []byte) []byte { return bytes.Replace(b, []byte("ad80"), []byte("ad81"), 1) }, "InvalidSignatureException"},
		{"chunk left out", func(b []byte) []byte { return b[first:] }, "InvalidSignatureException"},
		{"end left out", func(b []byte) []byte { return b[:bytes.LastIndex(b, []byte("0;chunk"))] }, "IncompleteSignatureException"},
		{"truncated", func(b []byte) []byte { return b[:500] }, "IncompleteSignatureException"},
		{"size too large", func(b []byte) []byte { return append([]byte("7fffffff"), b[5:]...) }, "IncompleteSignatureException"},
		{"size not hexadecimal", func(b []byte) []byte { b[0] = 'x'; return b }, "IncompleteSignatureException"},
		{"more behind the end", func(b []byte) []byte { return append(b, "evil"...) }, "IncompleteSignatureException"},
		{"empty", func([]byte) []byte { return nil }, "IncompleteSignatureException"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r, body, v := chunkedExample(t)
			p, err := v.Begin(r)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := p.Check(tt.change(body)); code(err) != tt.want {
				t.Errorf("got %v, want %s", err, tt.want)
			}
		})
	}
}

// signChunks writes a chunked body with a trailer, signed by the rules.
func signChunks(p *Pending, trailer string, chunks ...string) []byte {
	var b bytes.Buffer
	next := func(kind, middle, text string) string {
		sum := sha256.Sum256([]byte(text))
		s := algorithm + kind + "\n" + p.claim.date + "\n" + p.claim.scope.String() + "\n" + hex.EncodeToString(p.seed[:]) + "\n" + middle + hex.EncodeToString(sum[:])
		copy(p.seed[:], p.key.sign(nil, []byte(s)))
		return hex.EncodeToString(p.seed[:])
	}
	for _, c := range append(chunks, "") {
		fmt.Fprintf(&b, "%x;chunk-signature=%s\r\n%s", len(c), next("-PAYLOAD", emptyHash+"\n", c), c)
		if c != "" {
			b.WriteString("\r\n")
		}
	}
	if trailer != "" {
		name, value, _ := strings.Cut(trailer, ":")
		fmt.Fprintf(&b, "%s\r\nx-amz-trailer-signature:%s\r\n\r\n", trailer, next("-TRAILER", "", name+":"+value+"\n"))
	}
	return b.Bytes()
}

func TestChunkedTrailer(t *testing.T) {
	begin := func() *Pending {
		r := newRequest(t, "POST", "http://h/x", "")
		r.Header.Set("X-Amz-Content-Sha256", streamingTrailer)
		if err := signDeclared(r, streamingTrailer); err != nil {
			t.Fatal(err)
		}
		p, err := newTestVerifier(testTime).Begin(r)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	body := signChunks(begin(), "x-amz-checksum-crc32c:sOO8/Q==", "hello ", "world")
	if got, err := begin().Check(bytes.Clone(body)); err != nil || string(got) != "hello world" {
		t.Errorf("Check = %q, %v", got, err)
	}
	changed := bytes.Replace(body, []byte("sOO8"), []byte("sOO9"), 1)
	if _, err := begin().Check(changed); code(err) != "InvalidSignatureException" {
		t.Errorf("changed trailer: %v", err)
	}
	cut, _, _ := bytes.Cut(body, []byte("x-amz-trailer"))
	if _, err := begin().Check(cut); code(err) != "IncompleteSignatureException" {
		t.Errorf("no trailer signature: %v", err)
	}
}
