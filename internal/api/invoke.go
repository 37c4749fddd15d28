package api

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"hearth/internal/arn"
	"hearth/internal/awserr"
	"hearth/internal/invocation"
)

const (
	// maxClientContext bounds X-Amz-Client-Context, in base64.
	maxClientContext = 3583
	// maxTrace bounds a trace header that is passed on to functions.
	maxTrace = 256
)

// emptyEvent is what a function gets when the caller sends no payload, as from
// AWS (aws/aws-lambda-dotnet, pull request 834).
var emptyEvent = []byte("{}")

// invoke serves Invoke. It is the warm path: it reads what it needs from the
// request by hand, and its answer goes out without the codec.
func (s *Server) invoke(c *call, reference string, query url.Values, body []byte) error {
	ref, req, err := s.readInvoke(c, reference, query, body)
	if err != nil || req == nil {
		return err
	}
	// A function runs to its end even if its caller has gone.
	ctx := context.WithoutCancel(c.r.Context())
	res, timeline, err := s.cfg.Invoker.Invoke(ctx, ref.Account, ref.Name, ref.Qualifier, req)
	if err != nil {
		return err
	}
	s.writeInvoke(c, req, res, timeline)
	return nil
}

// readInvoke reads the request of an invoke of either kind, and the name of its
// function, and has it authorized. There is no request if it was a dry run,
// which was answered.
func (s *Server) readInvoke(c *call, reference string, query url.Values, body []byte) (ref arn.Function, req *invocation.Request, err error) {
	if ref, err = s.resolve(c, reference, query.Get("Qualifier")); err != nil {
		return ref, nil, err
	}
	about := subject{resource: ref.String(), account: ref.Account, fn: ref}
	asked := s.accessRequest(c, "lambda:"+action(c.op), about)
	if err := s.cfg.Access.Authorize(c.r.Context(), &c.Identity, asked, s.policyOf(c.r.Context(), ref)); err != nil {
		return ref, nil, err
	}
	tail, dry, err := readInvokeHeader(c.r.Header)
	if err != nil {
		return ref, nil, err
	}
	if dry {
		if err := s.cfg.Invoker.Check(c.r.Context(), ref.Account, ref.Name, ref.Qualifier); err != nil {
			return ref, nil, err
		}
		s.write(c, &answer{status: http.StatusNoContent})
		return ref, nil, nil
	}
	req = &invocation.Request{ID: c.id, InvokedARN: ref.String(), Payload: body, Tail: tail, TraceID: s.trace(c.r.Header)}
	if req.ClientContext, err = readClientContext(c.r.Header.Get("X-Amz-Client-Context")); err != nil {
		return ref, nil, err
	}
	if len(body) == 0 {
		req.Payload = emptyEvent
	} else if err := checkPayload(body); err != nil {
		return ref, nil, err
	}
	return ref, req, nil
}

// readInvokeHeader reads how to invoke.
func readInvokeHeader(h http.Header) (tail, dry bool, err error) {
	switch kind := h.Get("X-Amz-Invocation-Type"); kind {
	case "", "RequestResponse":
	case "DryRun":
		dry = true
	case "Event":
		return false, false, awserr.New("NotImplementedException", "Invoke with InvocationType Event is not supported yet by this version of Hearth.")
	default:
		return false, false, validationError("ValidationException", problem("'"+kind+"'", "invocationType",
			"Member must satisfy enum value set: [Event, RequestResponse, DryRun]"))
	}
	switch kind := h.Get("X-Amz-Log-Type"); kind {
	case "", "None":
	case "Tail":
		tail = true
	default:
		return false, false, validationError("ValidationException", problem("'"+kind+"'", "logType",
			"Member must satisfy enum value set: [None, Tail]"))
	}
	return tail, dry, refuse(
		field{"TenantId", h.Get("X-Amz-Tenant-Id") != ""},
		field{"DurableExecutionName", h.Get("X-Amz-Durable-Execution-Name") != ""},
	)
}

func readClientContext(encoded string) ([]byte, error) {
	if encoded == "" {
		return nil, nil
	}
	if len(encoded) > maxClientContext {
		return nil, awserr.New("InvalidRequestContentException", "Client context must be at most %d bytes in Base64.", maxClientContext)
	}
	text, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil || !utf8.Valid(text) || !json.Valid(text) {
		return nil, awserr.New("InvalidRequestContentException", "Client context must be a valid Base64-encoded JSON object.")
	}
	return text, nil
}

// checkPayload makes sure that functions get JSON.
func checkPayload(body []byte) error {
	if json.Valid(body) && utf8.Valid(body) {
		return nil
	}
	reason := "it is not UTF-8"
	if err := syntaxError(body); err != nil {
		reason = err.Error()
		if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
			reason += " at byte " + strconv.FormatInt(syntax.Offset, 10)
		}
	}
	return awserr.New("InvalidRequestContentException", "Could not parse request body into json: Could not parse payload into json: %s", reason)
}

// trace is the X-Amzn-Trace-Id that the function gets: the caller's, with
// what is missing added.
func (s *Server) trace(h http.Header) string {
	sent := h.Get("X-Amzn-Trace-Id")
	if len(sent) > maxTrace || !strings.Contains(sent, "Root=") {
		sent = ""
	}
	if strings.Contains(sent, "Parent=") && strings.Contains(sent, "Sampled=") {
		return sent
	}
	var random [20]byte
	rand.Read(random[:])
	b := make([]byte, 0, maxTrace+64)
	if sent == "" {
		b = append(b, "Root=1-"...)
		b = fmt.Appendf(b, "%08x", s.cfg.Now().Unix())
		b = append(b, '-')
		b = hex.AppendEncode(b, random[:12])
	} else {
		b = append(b, sent...)
	}
	if !strings.Contains(sent, "Parent=") {
		b = append(b, ";Parent="...)
		b = hex.AppendEncode(b, random[12:])
	}
	if !strings.Contains(sent, "Sampled=") {
		b = append(b, ";Sampled=0"...)
	}
	return string(b)
}

// writeInvoke answers an invoke. The header keys are in canonical form.
func (s *Server) writeInvoke(c *call, req *invocation.Request, res *invocation.Response, t *invocation.Timeline) {
	h := c.w.Header()
	h["Content-Type"] = []string{"application/json"}
	h["X-Amz-Executed-Version"] = []string{res.Version}
	h["X-Amzn-Trace-Id"] = []string{req.TraceID}
	if res.FunctionError != "" {
		h["X-Amz-Function-Error"] = []string{res.FunctionError}
	}
	if req.Tail {
		h["X-Amz-Log-Result"] = []string{logResult(res.Log)}
	}
	if t != nil {
		h["Server-Timing"] = []string{serverTiming(t)}
	}
	s.write(c, &answer{status: http.StatusOK, body: res.Payload})
}

// logResult is the end of a log as callers get it.
func logResult(log []byte) string {
	if len(log) > invocation.LogTail {
		log = log[len(log)-invocation.LogTail:]
	}
	return base64.StdEncoding.EncodeToString(log)
}

// serverTiming writes an invoke's waterfall in the W3C header's form.
func serverTiming(t *invocation.Timeline) string {
	b := make([]byte, 0, 128)
	step := func(name string, d time.Duration) {
		if len(b) > 0 {
			b = append(b, ", "...)
		}
		b = append(b, name...)
		b = append(b, ";dur="...)
		b = strconv.AppendFloat(b, float64(d)/float64(time.Millisecond), 'f', 3, 64)
	}
	step("count", t.Count)
	step("assign", t.Assign)
	if t.Cold != nil {
		step("boot", t.Cold.Boot)
		step("handover", t.Cold.Assign)
		step("init", t.Cold.Init)
	}
	step("run", t.Run)
	return string(b)
}
