package api

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"

	"hearth/internal/awserr"
	"hearth/internal/policy"
	"hearth/internal/sigv4"
)

// Operator is what Hearth has and AWS does not: operations that look after
// Hearth itself.
type Operator struct {
	// Authorize refuses everybody but the operator, and fills in the request's
	// principal.
	Authorize func(caller *sigv4.Identity, r *policy.Request) error
	// Operations are given the JSON of a request; their answers are encoded as
	// JSON.
	Operations map[string]func(ctx context.Context, body []byte) (answer any, err error)
}

// operatorService is the service that requests for these operations are signed
// for; X-Amz-Target names one, after operatorTarget.
const (
	operatorService = "hearth"
	operatorTarget  = "Hearth."
)

// serveOperator serves the operator, in the manner of AWS's JSON protocol 1.1.
func (s *Server) serveOperator(c *call, p *sigv4.Pending) error {
	if err := s.checkRegion(p); err != nil {
		return err
	}
	body, err := readBody(c, p, maxKeyRequest)
	if err != nil {
		return err
	}
	name, _ := strings.CutPrefix(c.r.Header.Get("X-Amz-Target"), operatorTarget)
	serve := s.cfg.Operator.Operations[name]
	if serve == nil || c.r.Method != http.MethodPost {
		return awserr.New("UnknownOperationException", "No operation of this Hearth is named %.64q.", name)
	}
	if err := s.cfg.Operator.Authorize(&c.Identity, s.accessRequest(c, "hearth:"+name, subject{resource: "*"})); err != nil {
		return err
	}
	out, err := serve(c.r.Context(), body)
	if err != nil {
		return err
	}
	encoded, err := json.Marshal(out)
	if err != nil {
		return err
	}
	s.reply(c, http.StatusOK, jsonType, encoded)
	return nil
}
