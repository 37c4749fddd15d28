package sigv4

import (
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"strconv"
	"strings"
)

// The declarations of a body in signed chunks, without and with a signed
// trailer.
const (
	streamingPayload = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
	streamingTrailer = streamingPayload + "-TRAILER"
)

// emptyHash is the SHA-256 of nothing.
var emptyHash = hex.EncodeToString(sha256.New().Sum(nil))

// maxChunkLine bounds a chunk's header line and a trailer's line.
const maxChunkLine = 8 << 10

// decodeChunks verifies a body in signed chunks and returns their contents:
//
//	HEX-SIZE;chunk-signature=SIGNATURE CR LF
//	bytes CR LF
//	… up to a chunk of size 0, then trailer lines if declared
//
// Each signature covers the one before it, from the request's own on.
func (p *Pending) decodeChunks(body []byte) ([]byte, error) {
	out := body[:0] // contents only ever move towards the front
	for {
		line, rest, ok := cutLine(body)
		if !ok {
			return nil, brokenChunk()
		}
		size, signature, ok := readChunkLine(line)
		if !ok || size > len(rest) {
			return nil, brokenChunk()
		}
		data := rest[:size]
		sum := sha256.Sum256(data)
		if !p.checkNext("-PAYLOAD\n", signature, emptyHash+"\n", sum) {
			return nil, mismatch()
		}
		body = rest[size:]
		if size == 0 {
			break
		}
		out = append(out, data...)
		if body, ok = bytes.CutPrefix(body, []byte("\r\n")); !ok {
			return nil, brokenChunk()
		}
	}
	if p.declared == streamingTrailer {
		return out, p.checkTrailer(body)
	}
	if len(bytes.TrimPrefix(body, []byte("\r\n"))) > 0 {
		return nil, brokenChunk()
	}
	return out, nil
}

func brokenChunk() error {
	return incomplete("The body is not in the aws-chunked form that x-amz-content-sha256 declares.")
}

func cutLine(b []byte) (line, rest []byte, ok bool) {
	end := bytes.Index(b[:min(len(b), maxChunkLine)], []byte("\r\n"))
	if end < 0 {
		return nil, nil, false
	}
	return b[:end], b[end+2:], true
}

func readChunkLine(line []byte) (size int, signature [32]byte, ok bool) {
	digits, extension, found := strings.Cut(string(line), ";chunk-signature=")
	n, err := strconv.ParseUint(digits, 16, 31)
	if !found || err != nil || !decodeHex(&signature, extension) {
		return 0, signature, false
	}
	return int(n), signature, true
}

// checkNext verifies a chunk's or trailer's signature and makes it the one
// that the next builds on.
func (p *Pending) checkNext(kind string, signature [32]byte, middle string, sum [32]byte) bool {
	b := append([]byte(algorithm), kind...)
	b = append(b, p.claim.date...)
	b = append(b, '\n')
	b = appendScope(b, p.claim.scope)
	b = append(b, '\n')
	b = hex.AppendEncode(b, p.seed[:])
	b = append(b, '\n')
	b = append(b, middle...)
	b = hex.AppendEncode(b, sum[:])
	want := p.key.sign(nil, b)
	if subtle.ConstantTimeCompare(want, signature[:]) != 1 {
		return false
	}
	p.seed = signature
	return true
}

// checkTrailer verifies the trailing headers. They are not used: checksums in
// them repeat what the chunk signatures prove.
func (p *Pending) checkTrailer(body []byte) error {
	var canonical []byte
	for {
		line, rest, ok := cutLine(body)
		if !ok {
			return brokenChunk()
		}
		body = rest
		name, value, ok := strings.Cut(string(line), ":")
		if !ok {
			return brokenChunk()
		}
		name = strings.ToLower(strings.TrimSpace(name))
		if name != "x-amz-trailer-signature" {
			canonical = append(canonical, name...)
			canonical = append(canonical, ':')
			canonical = appendTrimmed(canonical, value)
			canonical = append(canonical, '\n')
			continue
		}
		var signature [32]byte
		if !decodeHex(&signature, strings.TrimSpace(value)) {
			return brokenChunk()
		}
		if !p.checkNext("-TRAILER\n", signature, "", sha256.Sum256(canonical)) {
			return mismatch()
		}
		if len(bytes.TrimPrefix(body, []byte("\r\n"))) > 0 {
			return brokenChunk()
		}
		return nil
	}
}
