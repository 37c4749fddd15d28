package sigv4

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"hearth/internal/awserr"
)

// ErrUnknownKey is what Keys returns for an access key that does not exist.
var ErrUnknownKey = errors.New("sigv4: unknown access key")

// Keys finds the credential of an access key. It is called on every request,
// so it must answer from memory.
type Keys interface {
	// Secret is given the session token that came with the key, or nothing.
	// Errors are ErrUnknownKey, or AWS errors that the caller is to see.
	Secret(ctx context.Context, accessKeyID, token string) (Credential, error)
}

// Credential is an access key's secret and whom it stands for.
type Credential struct {
	AccountID    string
	Secret       string
	PrincipalARN string
	UserID       string
	// Temporary says that the key belongs to a session: its requests carry the
	// session's token.
	Temporary bool
	// Session is what the identity service keeps with the credential.
	Session any
}

// Scope is the part of a credential that names where it is used.
type Scope struct {
	Date    string // YYYYMMDD
	Region  string
	Service string
}

func (s Scope) String() string { return s.Date + "/" + s.Region + "/" + s.Service + "/" + terminator }

const (
	algorithm  = "AWS4-HMAC-SHA256"
	terminator = "aws4_request"
	timeFormat = "20060102T150405Z"

	// maxSkew is how far a request's date may be from the server's clock.
	maxSkew = 5 * time.Minute
	// maxExpiry is the longest life of a presigned request.
	maxExpiry = 7 * 24 * time.Hour
	// maxSigned bounds the signed headers of a request; SDKs sign under 12.
	maxSigned = 64
)

// claim is what a request says of its own signature, before any of it is
// believed.
type claim struct {
	accessKeyID   string
	scope         Scope
	signedHeaders string // as sent, joined by semicolons
	signature     [32]byte
	date          string // as sent, in timeFormat
	time          time.Time
	presigned     bool
	expires       time.Duration
	token         string
}

func incomplete(format string, args ...any) error {
	return awserr.New("IncompleteSignatureException", format, args...)
}

// readClaim finds and parses the signature of a request.
func readClaim(r *http.Request) (*claim, error) {
	if auth := r.Header.Get("Authorization"); auth != "" {
		return readHeader(r, auth)
	}
	if strings.Contains(r.URL.RawQuery, "X-Amz-") {
		if query := r.URL.Query(); query.Get("X-Amz-Algorithm") != "" {
			return readQuery(query)
		}
	}
	return nil, awserr.New("MissingAuthenticationTokenException", "Missing Authentication Token")
}

func readHeader(r *http.Request, auth string) (*claim, error) {
	rest, ok := strings.CutPrefix(auth, algorithm)
	if !ok || rest == "" || rest[0] != ' ' && rest[0] != '\t' {
		return nil, incomplete("Unsupported signing algorithm in the Authorization header; Hearth verifies %s.", algorithm)
	}
	var credential, signature string
	c := &claim{token: r.Header.Get("X-Amz-Security-Token")}
	for field := range strings.SplitSeq(rest, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(field), "=")
		switch name {
		case "Credential":
			credential = value
		case "SignedHeaders":
			c.signedHeaders = value
		case "Signature":
			signature = value
		}
	}
	c.date = r.Header.Get("X-Amz-Date")
	if c.date == "" {
		if t, err := http.ParseTime(r.Header.Get("Date")); err == nil {
			c.date = t.UTC().Format(timeFormat)
		}
	}
	var missing []string
	for _, p := range []struct{ name, value string }{{"Credential", credential}, {"Signature", signature}, {"SignedHeaders", c.signedHeaders}} {
		if p.value == "" {
			missing = append(missing, "Authorization header requires '"+p.name+"' parameter.")
		}
	}
	if c.date == "" {
		missing = append(missing, "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header.")
	}
	if missing != nil {
		return nil, incomplete("%s", strings.Join(missing, " "))
	}
	return c, c.parse(credential, signature)
}

func readQuery(query url.Values) (*claim, error) {
	if a := query.Get("X-Amz-Algorithm"); a != algorithm {
		return nil, incomplete("Unsupported signing algorithm in X-Amz-Algorithm; Hearth verifies %s.", algorithm)
	}
	var missing []string
	for _, name := range []string{"X-Amz-Credential", "X-Amz-Signature", "X-Amz-SignedHeaders", "X-Amz-Date", "X-Amz-Expires"} {
		if query.Get(name) == "" {
			missing = append(missing, "AWS query-string parameters must include '"+name+"'.")
		}
	}
	if missing != nil {
		return nil, incomplete("%s", strings.Join(missing, " "))
	}
	seconds, err := strconv.ParseUint(query.Get("X-Amz-Expires"), 10, 31)
	if err != nil {
		return nil, incomplete("X-Amz-Expires should be a number of seconds.")
	}
	c := &claim{
		presigned:     true,
		expires:       time.Duration(seconds) * time.Second,
		date:          query.Get("X-Amz-Date"),
		signedHeaders: query.Get("X-Amz-SignedHeaders"),
		token:         query.Get("X-Amz-Security-Token"),
	}
	if c.expires > maxExpiry {
		return nil, incomplete("X-Amz-Expires must be less than a week (in seconds); that is, the given X-Amz-Expires must be less than 604800 seconds.")
	}
	return c, c.parse(query.Get("X-Amz-Credential"), query.Get("X-Amz-Signature"))
}

// parse reads the parts that header and query have in common.
func (c *claim) parse(credential, signature string) error {
	parts := strings.Split(credential, "/")
	if len(parts) != 5 {
		return incomplete("Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term.")
	}
	c.accessKeyID = parts[0]
	c.scope = Scope{Date: parts[1], Region: parts[2], Service: parts[3]}
	if parts[4] != terminator {
		return invalid("Credential should be scoped with a valid terminator: '%s'.", terminator)
	}
	var err error
	if c.time, err = time.Parse(timeFormat, c.date); err != nil {
		return incomplete("Date must be in ISO-8601 'basic format', e.g. 20260102T030405Z.")
	}
	if c.scope.Date != c.date[:8] {
		return invalid("Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP.")
	}
	if !decodeHex(&c.signature, signature) {
		return incomplete("Signature must be 64 lower-case hexadecimal digits.")
	}
	return nil
}

func decodeHex(dst *[32]byte, s string) bool {
	if len(s) != 2*len(dst) {
		return false
	}
	for i := range dst {
		hi, lo := unhex(s[2*i]), unhex(s[2*i+1])
		if hi > 15 || lo > 15 {
			return false
		}
		dst[i] = hi<<4 | lo
	}
	return true
}

func unhex(c byte) byte {
	switch {
	case '0' <= c && c <= '9':
		return c - '0'
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10
	}
	return 255
}

func invalid(format string, args ...any) error {
	return awserr.New("InvalidSignatureException", format, args...)
}

// checkAge refuses requests from too far in the past or the future.
func (c *claim) checkAge(now time.Time) error {
	now = now.UTC().Truncate(time.Second)
	stamp := func(t time.Time) string { return t.Format(timeFormat) }
	if latest := now.Add(maxSkew); c.time.After(latest) {
		return invalid("Signature not yet current: %s is still later than %s (%s + 5 min.)", c.date, stamp(latest), stamp(now))
	}
	if c.presigned {
		if end := c.time.Add(c.expires); now.After(end) {
			return invalid("Signature expired: %s is now earlier than %s", stamp(end), stamp(now))
		}
		return nil
	}
	if earliest := now.Add(-maxSkew); c.time.Before(earliest) {
		return invalid("Signature expired: %s is now earlier than %s (%s - 5 min.)", c.date, stamp(earliest), stamp(now))
	}
	return nil
}
