package api_test

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"hearth/internal/sigv4"
)

// ask asks for an operation of Hearth's own, signed by a key.
func (h hearth) ask(key, secret, method, operation, body string) (status int, answer string) {
	h.t.Helper()
	req, err := http.NewRequestWithContext(h.t.Context(), method, h.url+"/", strings.NewReader(body))
	if err != nil {
		h.t.Fatal(err)
	}
	req.Header.Set("X-Amz-Target", operation)
	req.Header.Set("Content-Type", "application/x-amz-json-1.1")
	if err := sigv4.Sign(h.t.Context(), req, key, secret, sigv4.Scope{Region: region, Service: "hearth"}, []byte(body), time.Now().UTC()); err != nil {
		h.t.Fatal(err)
	}
	resp, err := h.http.Do(req)
	if err != nil {
		h.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		h.t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

// TestOperator has everybody ask for what only the operator may.
func TestOperator(t *testing.T) {
	h := startHearth(t)
	if status, answer := h.ask(key, secret, http.MethodPost, "Hearth.Echo", "{}"); status != http.StatusOK || answer != `{"Body":"{}"}` {
		t.Errorf("the operator: %d %s", status, answer)
	}
	for _, c := range []struct{ method, operation string }{{http.MethodPost, "Hearth.Other"}, {http.MethodPost, ""}, {http.MethodPut, "Hearth.Echo"}} {
		if status, answer := h.ask(key, secret, c.method, c.operation, "{}"); status == http.StatusOK || !strings.Contains(answer, "UnknownOperationException") {
			t.Errorf("%v: %d %s", c, status, answer)
		}
	}
	admin, _ := h.user("admin", statement("Allow", "*", "*"))
	_, stranger := h.account("strangers")
	for what, c := range map[string]as{"an administrator": admin, "another account's root user": stranger} {
		k, err := c.Options().Credentials.Retrieve(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		status, answer := h.ask(k.AccessKeyID, k.SecretAccessKey, http.MethodPost, "Hearth.Echo", "{}")
		if status == http.StatusOK || !strings.Contains(answer, "AccessDeniedException") {
			t.Errorf("%s: %d %s", what, status, answer)
		}
		if last := (*h.events)[len(*h.events)-1]; last.Allowed || last.Action != "hearth:Echo" {
			t.Errorf("%s: audited as %+v", what, last)
		}
	}
}
