// Package s3 reads objects from an S3 endpoint: any server that speaks S3's
// protocol, named by path (ENDPOINT/BUCKET/KEY). It also puts, lists and
// deletes small ones, for the chunks of volumes. It can do nothing else, so that
// it is small enough to be sure of.
//
// Invariants:
//
//  1. No host but the endpoint's is asked: redirects are errors.
//  2. Every wait has a bound, and so has what is read of an error.
//  3. What the server answers is hostile: its words are cut and cleaned before
//     they are passed on.
//
// Failure modes: an error of the server's is an *Error with S3's code; all
// others (no route, a timeout, a redirect) wrap ErrUnreachable.
package s3

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

// ErrUnreachable says that the endpoint gave no answer that S3 would give.
var ErrUnreachable = errors.New("the S3 endpoint gives no usable answer")

// ErrBadName says that an object's name cannot be asked for.
var ErrBadName = errors.New("not the name of an object")

// Config says which endpoint to read from, and as whom.
type Config struct {
	// Endpoint is http:// or https:// and a host, and may have a path.
	Endpoint string
	// Region is that of signatures; us-east-1 if empty.
	Region string
	// Credentials sign requests; without an access key they are anonymous.
	Credentials Credentials
	// AnswerTimeout bounds the wait for an answer's header; 30 s if zero.
	AnswerTimeout time.Duration
	// Timeout bounds reading one object, and any other operation; 5 minutes if
	// zero.
	Timeout time.Duration
	// Connections is how many are kept open when idle; 4 if zero.
	Connections int
	// Now is the clock; time.Now if nil.
	Now func() time.Time
}

// Credentials are an access key.
type Credentials struct{ AccessKeyID, SecretAccessKey, SessionToken string }

// Client reads objects. It may be used concurrently.
type Client struct {
	cfg    Config
	base   *url.URL
	http   *http.Client
	signer *v4.Signer
}

// New makes a client. It asks the endpoint nothing.
func New(cfg Config) (*Client, error) {
	base, err := ParseEndpoint(cfg.Endpoint)
	if err != nil {
		return nil, err
	}
	if (cfg.Credentials.AccessKeyID == "") != (cfg.Credentials.SecretAccessKey == "") {
		return nil, errors.New("s3: of access key id and secret access key one is missing; give both, or neither for anonymous requests")
	}
	if cfg.Region == "" {
		cfg.Region = "us-east-1"
	}
	if cfg.AnswerTimeout == 0 {
		cfg.AnswerTimeout = 30 * time.Second
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = 5 * time.Minute
	}
	if cfg.Connections == 0 {
		cfg.Connections = 4
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	transport := &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		DialContext:            (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
		TLSHandshakeTimeout:    10 * time.Second,
		ResponseHeaderTimeout:  cfg.AnswerTimeout,
		MaxResponseHeaderBytes: 64 << 10,
		IdleConnTimeout:        30 * time.Second,
		MaxIdleConnsPerHost:    cfg.Connections,
		// An object is wanted as it is stored, whatever its encoding.
		DisableCompression: true,
	}
	return &Client{
		cfg: cfg, base: base,
		http: &http.Client{
			Transport:     transport,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		signer: v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true }),
	}, nil
}

// ParseEndpoint checks the URL of an endpoint.
func ParseEndpoint(endpoint string) (*url.URL, error) {
	u, err := url.Parse(endpoint)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, fmt.Errorf("s3: endpoint %q: want a URL like http://127.0.0.1:9000, without user, query and fragment", clean(endpoint))
	}
	return u, nil
}

// Close ends connections that are kept open.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Object is an object being read.
type Object struct {
	io.ReadCloser
	// Size is the object's size in bytes as the server declares it, or -1.
	Size int64
}

// Open begins to read an object, or the version of it if one is given. The
// caller closes it.
func (c *Client) Open(ctx context.Context, bucket, key, version string) (*Object, error) {
	path, err := objectPath(bucket, key)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	query := ""
	if version != "" {
		query = "versionId=" + escape(version, false)
	}
	resp, err := c.send(ctx, request{method: http.MethodGet, path: path, query: query}) //nolint:bodyclose // whoever reads the object closes it
	if err != nil {
		cancel()
		return nil, err
	}
	return &Object{ReadCloser: &body{resp.Body, cancel}, Size: resp.ContentLength}, nil
}

// request is what is asked of the endpoint, escaped.
type request struct {
	method, path, query string
	body                []byte
	sum                 [sha256.Size]byte // of the body; zeros: of nothing
	want                int               // the status of success; 200 if zero
	source              string            // path of an object to be copied; may be empty
}

// send returns the answer of a request that succeeded.
func (c *Client) send(ctx context.Context, r request) (*http.Response, error) {
	u := *c.base
	// The path is sent as it is here: nothing cleans or escapes it again.
	prefix := strings.TrimSuffix(u.EscapedPath(), "/")
	u.Path, _ = url.PathUnescape(prefix + r.path)
	u.RawPath = prefix + r.path
	u.RawQuery = r.query
	var body io.Reader
	if r.body != nil {
		body = bytes.NewReader(r.body)
	} else {
		r.sum = sha256.Sum256(nil)
	}
	req, err := http.NewRequestWithContext(ctx, r.method, u.String(), body)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBadName, err)
	}
	if r.source != "" {
		req.Header.Set("X-Amz-Copy-Source", r.source)
	}
	if err := c.sign(ctx, req, hex.EncodeToString(r.sum[:])); err != nil {
		return nil, err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	if resp.StatusCode == r.want || r.want == 0 && resp.StatusCode == http.StatusOK {
		return resp, nil
	}
	defer resp.Body.Close()
	return nil, readError(resp)
}

func (c *Client) sign(ctx context.Context, req *http.Request, hash string) error {
	k := c.cfg.Credentials
	if k.AccessKeyID == "" {
		return nil
	}
	req.Header.Set("X-Amz-Content-Sha256", hash)
	credentials := aws.Credentials{AccessKeyID: k.AccessKeyID, SecretAccessKey: k.SecretAccessKey, SessionToken: k.SessionToken}
	if err := c.signer.SignHTTP(ctx, credentials, req, hash, "s3", c.cfg.Region, c.cfg.Now()); err != nil {
		return fmt.Errorf("s3: sign: %w", err)
	}
	return nil
}

// body ends the request's context with its reader.
type body struct {
	io.ReadCloser
	cancel context.CancelFunc
}

func (b *body) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil && err != io.EOF { //nolint:errorlint // Read returns io.EOF itself
		err = fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	return n, err
}

func (b *body) Close() error {
	defer b.cancel()
	return b.ReadCloser.Close()
}

// Bounds of names, as S3 has them.
const (
	maxBucket = 63
	maxKey    = 1024
)

// objectPath returns the path of an object, escaped as S3 signs it. Segments
// that a server might take for directories are refused: they could lead to
// another bucket.
func objectPath(bucket, key string) (string, error) {
	if bucket == "" || len(bucket) > maxBucket || strings.Contains(bucket, "/") || bucket == "." || bucket == ".." {
		return "", fmt.Errorf("%w: bucket %q", ErrBadName, clean(bucket))
	}
	if key == "" || len(key) > maxKey {
		return "", fmt.Errorf("%w: a key of %d bytes, want 1 to %d", ErrBadName, len(key), maxKey)
	}
	for segment := range strings.SplitSeq(key, "/") {
		if segment == "." || segment == ".." {
			return "", fmt.Errorf("%w: key %q has a segment that is a directory's name", ErrBadName, clean(key))
		}
	}
	return "/" + escape(bucket, false) + "/" + escape(key, true), nil
}

// escape percent-encodes all but unreserved characters, and slashes if they
// are to be kept.
func escape(s string, slashes bool) string {
	const digits = "0123456789ABCDEF"
	var b strings.Builder
	for _, c := range []byte(s) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9',
			c == '-', c == '_', c == '.', c == '~', slashes && c == '/':
			b.WriteByte(c)
		default:
			b.Write([]byte{'%', digits[c>>4], digits[c&15]})
		}
	}
	return b.String()
}
