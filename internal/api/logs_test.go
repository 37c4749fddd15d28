package api

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"

	"hearth/internal/awserr"
	"hearth/internal/policy"
	"hearth/internal/sigv4"
)

// parrot answers with what it was asked, and fails as the body says.
type parrot struct{}

var errOwn = errors.New("of its own")

func (parrot) Serve(_ context.Context, account, operation string, body []byte, allow func(string, []string) error) ([]byte, error) {
	if err := allow("logs:"+operation, []string{"arn:aws:logs:us-east-1:" + account + ":log-group:x"}); err != nil {
		return nil, err
	}
	switch string(body) {
	case "missing":
		return nil, awserr.New("ResourceNotFoundException", "The specified log group does not exist.")
	case "full":
		return nil, awserr.New("ServiceUnavailableException", "The disk that holds the logs is full.")
	case "fault":
		return nil, errOwn
	case "empty":
		return nil, nil
	}
	return []byte(account + " " + operation + " " + string(body)), nil
}

func (p parrot) Tail(ctx context.Context, account, id string, body []byte, allow func(string, []string) error, send func([]byte) error) error {
	if _, err := p.Serve(ctx, account, "StartLiveTail", body, allow); err != nil {
		return err
	}
	return errors.Join(send([]byte("one ")), send([]byte(string(body))), errOwn)
}

func TestLogsProtocol(t *testing.T) {
	b := start(t)
	b.server.cfg.Logs = parrot{}
	tests := []struct {
		name, target, body string
		status             int
		want               string
	}{
		{"served", "Logs_20140328.GetLogEvents", "{}", 200, testAccount + " GetLogEvents {}"},
		{"no answer", "Logs_20140328.GetLogEvents", "empty", 200, ""},
		{"error", "Logs_20140328.GetLogEvents", "missing", 400, `{"__type":"ResourceNotFoundException","message":"The specified log group does not exist."}`},
		{"unavailable", "Logs_20140328.GetLogEvents", "full", 503, `{"__type":"ServiceUnavailableException","message":"The disk that holds the logs is full."}`},
		{"fault", "Logs_20140328.GetLogEvents", "fault", 500, `{"__type":"ServiceException",`},
		{"no target", "", "{}", 400, `{"__type":"UnknownOperationException",`},
		{"another service's", "TrentService.Encrypt", "{}", 400, `{"__type":"UnknownOperationException",`},
		{"a stream", "Logs_20140328.StartLiveTail", "two", 200, "one two"},
		{"no stream", "Logs_20140328.StartLiveTail", "missing", 400, `{"__type":"ResourceNotFoundException",`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := b.sendAs(t, "logs", http.MethodPost, "/", tt.body, "X-Amz-Target", tt.target, "Content-Type", jsonType)
			if got.status != tt.status || !strings.HasPrefix(got.body, tt.want) || tt.want == "" && got.body != "" {
				t.Errorf("got %v, want %d %s", got, tt.status, tt.want)
			}
			want := jsonType
			if tt.name == "a stream" {
				want = tailType
			}
			if kind := got.header.Get("Content-Type"); kind != want {
				t.Errorf("content type %s", kind)
			}
		})
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, b.url, strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", jsonType)
	if got := do(t, req); got.status != 400 || !strings.Contains(got.body, `"__type":"MissingAuthenticationTokenException"`) {
		t.Errorf("unsigned: %v", got)
	}
}

// refusing allows nothing, and keeps what it was asked last.
type refusing struct {
	ownAccount
	asked string
}

func (r *refusing) Authorize(_ context.Context, _ *sigv4.Identity, req *policy.Request, _ *policy.Document) error {
	r.asked = req.Action + " " + req.Resource + " " + req.ResourceAccount
	return awserr.New("AccessDeniedException", "no")
}

func TestLogsAreAuthorized(t *testing.T) {
	b := start(t)
	b.server.cfg.Logs = parrot{}
	denied := &refusing{}
	b.server.cfg.Access = denied
	for _, operation := range []string{"GetLogEvents", "StartLiveTail"} {
		got := b.sendAs(t, "logs", http.MethodPost, "/", "{}", "X-Amz-Target", logsTarget+operation)
		if got.status != 400 || !strings.Contains(got.body, `"__type":"AccessDeniedException"`) {
			t.Errorf("%s: %v", operation, got)
		}
		if want := "logs:" + operation + " arn:aws:logs:us-east-1:000000000000:log-group:x 000000000000"; denied.asked != want {
			t.Errorf("asked %q, want %q", denied.asked, want)
		}
	}
}
