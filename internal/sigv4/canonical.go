package sigv4

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
)

const upperHex = "0123456789ABCDEF"

// appendCanonical appends the canonical request. It returns nil if a part of
// the request has no canonical form.
func appendCanonical(b []byte, r *http.Request, c *claim, payloadHash string) []byte {
	b = append(b, r.Method...)
	b = append(b, '\n')
	b = appendPath(b, wirePath(r))
	b = append(b, '\n')
	if b = appendQuery(b, r.URL.RawQuery, c.presigned); b == nil {
		return nil
	}
	b = append(b, '\n')
	for rest := c.signedHeaders; rest != ""; {
		var name string
		name, rest, _ = strings.Cut(rest, ";")
		b = append(b, name...)
		b = append(b, ':')
		b = appendHeader(b, r, name)
		b = append(b, '\n')
	}
	b = append(b, '\n')
	b = append(b, c.signedHeaders...)
	b = append(b, '\n')
	return append(b, payloadHash...)
}

// wirePath is the path exactly as the client sent it: decoding it and
// encoding it again would not give back every client's choice of escapes.
func wirePath(r *http.Request) string {
	if strings.HasPrefix(r.RequestURI, "/") {
		path, _, _ := strings.Cut(r.RequestURI, "?")
		return path
	}
	return r.URL.EscapedPath()
}

func appendPath(b []byte, path string) []byte {
	if path == "" {
		return append(b, '/')
	}
	return appendEscaped(b, path, true)
}

func appendEscaped(b []byte, s string, slash bool) []byte {
	for i := range len(s) {
		c := s[i]
		if 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' ||
			c == '-' || c == '_' || c == '.' || c == '~' || slash && c == '/' {
			b = append(b, c)
			continue
		}
		b = append(b, '%', upperHex[c>>4], upperHex[c&15])
	}
	return b
}

// appendQuery appends the parameters decoded, encoded anew and sorted. The
// signature itself is left out of a presigned request.
func appendQuery(b []byte, raw string, presigned bool) []byte {
	if raw == "" {
		return b
	}
	var pairs [][2]string
	for field := range strings.SplitSeq(raw, "&") {
		if field == "" {
			continue
		}
		key, value, _ := strings.Cut(field, "=")
		k, ok1 := unescape(key)
		v, ok2 := unescape(value)
		if !ok1 || !ok2 {
			return nil
		}
		if presigned && k == "X-Amz-Signature" {
			continue
		}
		pairs = append(pairs, [2]string{string(appendEscaped(nil, k, false)), string(appendEscaped(nil, v, false))})
	}
	slices.SortFunc(pairs, func(x, y [2]string) int {
		if d := strings.Compare(x[0], y[0]); d != 0 {
			return d
		}
		return strings.Compare(x[1], y[1])
	})
	for i, p := range pairs {
		if i > 0 {
			b = append(b, '&')
		}
		b = append(b, p[0]...)
		b = append(b, '=')
		b = append(b, p[1]...)
	}
	return b
}

// unescape decodes a query component as net/url does, so that what is signed
// is what the server reads.
func unescape(s string) (string, bool) {
	if !strings.ContainsAny(s, "%+;") {
		return s, true
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '+':
			b = append(b, ' ')
		case ';':
			return "", false // net/url refuses it
		case '%':
			if i+2 >= len(s) {
				return "", false
			}
			n, err := strconv.ParseUint(s[i+1:i+3], 16, 8)
			if err != nil {
				return "", false
			}
			b = append(b, byte(n))
			i += 2
		default:
			b = append(b, s[i])
		}
	}
	return string(b), true
}

// appendHeader appends a header's values, joined by commas, trimmed, with
// runs of spaces made one.
func appendHeader(b []byte, r *http.Request, name string) []byte {
	switch name {
	case "host":
		return appendTrimmed(b, r.Host)
	case "content-length":
		// net/http may keep it out of the header map.
		if r.ContentLength >= 0 {
			return strconv.AppendInt(b, r.ContentLength, 10)
		}
		return b
	case "transfer-encoding":
		return append(b, strings.Join(r.TransferEncoding, ",")...)
	}
	for i, v := range r.Header[http.CanonicalHeaderKey(name)] {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendTrimmed(b, v)
	}
	return b
}

func appendTrimmed(b []byte, v string) []byte {
	v = strings.Trim(v, " \t")
	space := false
	for i := range len(v) {
		c := v[i]
		if c == ' ' || c == '\t' {
			c = ' '
			if space {
				continue
			}
		}
		space = c == ' '
		b = append(b, c)
	}
	return b
}

// checkSigned makes sure that the headers that steer the server are signed.
func (c *claim) checkSigned(r *http.Request) error {
	if strings.Count(c.signedHeaders, ";") >= maxSigned {
		return incomplete("SignedHeaders names more than %d headers.", maxSigned)
	}
	if !c.signs("host") {
		return invalid("'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization.")
	}
	for name := range r.Header {
		if len(name) > 6 && name[:6] == "X-Amz-" && !c.signs(name) {
			return invalid("The header '%s' is present and must be a 'SignedHeader' in the AWS Authorization.", strings.ToLower(name))
		}
	}
	return nil
}

// signs says whether a header is among the signed ones, whose names are
// lower-case.
func (c *claim) signs(name string) bool {
	for rest := c.signedHeaders; rest != ""; {
		var signed string
		signed, rest, _ = strings.Cut(rest, ";")
		if len(signed) == len(name) && strings.EqualFold(signed, name) {
			return true
		}
	}
	return false
}
