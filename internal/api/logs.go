package api

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"hearth/internal/awserr"
	"hearth/internal/sigv4"
)

// Logs is CloudWatch Logs. Its errors are *awserr.Error, or faults. Before it
// does anything it asks allow, and answers its error.
type Logs interface {
	Serve(ctx context.Context, account, operation string, body []byte, allow func(action string, resources []string) error) ([]byte, error)
	// Tail serves StartLiveTail: it sends the messages of an event stream.
	Tail(ctx context.Context, account, requestID string, body []byte, allow func(action string, resources []string) error,
		send func(message []byte) error) error
}

const (
	logsTarget = "Logs_20140328."
	jsonType   = "application/x-amz-json-1.1"
	// tailType and tailTime are of Live Tail's answers, and how long a client
	// may take for one message of them.
	tailType = "application/vnd.amazon.eventstream"
	tailTime = 10 * time.Second
)

// serveLogs serves CloudWatch Logs' JSON protocol.
func (s *Server) serveLogs(c *call, p *sigv4.Pending) error {
	body, err := readBody(c, p, maxBody)
	if err != nil {
		return err
	}
	if p.Scope.Region != s.cfg.Region {
		return awserr.New("InvalidSignatureException",
			"Credential should be scoped to a valid region, not '%.64s'. This Hearth serves '%s': set AWS_REGION to it.", p.Scope.Region, s.cfg.Region)
	}
	operation, ok := strings.CutPrefix(c.r.Header.Get("X-Amz-Target"), logsTarget)
	if !ok || c.r.Method != http.MethodPost {
		return awserr.New("UnknownOperationException", "No operation of CloudWatch Logs' API is named %.64q.", c.r.Header.Get("X-Amz-Target"))
	}
	allow := func(action string, resources []string) error { return s.allow(c, action, resources) }
	if operation == "StartLiveTail" {
		return s.tail(c, body, allow)
	}
	out, err := s.cfg.Logs.Serve(c.r.Context(), c.AccountID, operation, body, allow)
	if err != nil {
		return err
	}
	s.write(c, &answer{status: http.StatusOK, header: http.Header{"Content-Type": {jsonType}}, body: out})
	return nil
}

// allow asks whether the caller may do an action on every one of resources of
// its own account.
func (s *Server) allow(c *call, action string, resources []string) error {
	for _, resource := range resources {
		r := s.accessRequest(c, action, subject{resource: resource, account: c.AccountID})
		if err := s.cfg.Access.Authorize(c.r.Context(), &c.Identity, r, nil); err != nil {
			return err
		}
	}
	return nil
}

// tail answers with what is written to logs from now on.
func (s *Server) tail(c *call, body []byte, allow func(string, []string) error) error {
	begun := false
	control := http.NewResponseController(c.w)
	err := s.cfg.Logs.Tail(c.r.Context(), c.AccountID, c.id, body, allow, func(message []byte) error {
		if !begun {
			begun = true
			c.w.Header()["Content-Type"] = []string{tailType}
			c.w.WriteHeader(http.StatusOK)
		}
		// Writers without deadlines, as tests have, are none the worse.
		_ = control.SetWriteDeadline(time.Now().Add(tailTime))
		if _, err := c.w.Write(message); err != nil {
			return err
		}
		return control.Flush()
	})
	if err != nil && begun {
		// Nearly always the client is gone.
		s.cfg.Log.LogAttrs(c.r.Context(), slog.LevelDebug, "a live tail ended early", slog.String("requestId", c.id), slog.Any("error", err))
		return nil // it is too late for a status
	}
	return err
}

// speaksJSON says that the client speaks AWS's JSON protocol 1.1, where the
// body names the error, and its status tells only whose fault it is.
func speaksJSON(c *call) bool {
	return c.Scope.Service == "logs" || strings.HasPrefix(c.r.Header.Get("Content-Type"), "application/x-amz-json-")
}

func jsonError(e *awserr.Error) *answer {
	status := http.StatusBadRequest
	if e.HTTPStatus() >= http.StatusInternalServerError {
		status = e.HTTPStatus()
	}
	body, err := json.Marshal(map[string]string{"__type": e.Code, "message": e.Message})
	if err != nil {
		panic(err) // a map of strings
	}
	return &answer{status: status, header: http.Header{"Content-Type": {jsonType}, "X-Amzn-Errortype": {e.Code}}, body: body}
}
