package api

import (
	"context"
	"net/http"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/lambda/types"

	"hearth/internal/awserr"
	"hearth/internal/function"
	"hearth/internal/policy"
	"hearth/internal/sigv4"
)

// KeyService is the key service, as the API needs it.
type KeyService interface {
	// Serve answers a request of KMS's API, which it authorises itself.
	Serve(ctx context.Context, caller sigv4.Identity, describe func(*policy.Request), target string, body []byte) (status int, answer []byte)
	// AuthorizeEnvironment says whether a caller may do something with the
	// environment of a function that is sealed by the key of an ARN. Its
	// refusals are *awserr.Error in Lambda's words.
	AuthorizeEnvironment(ctx context.Context, caller sigv4.Identity, describe func(*policy.Request), action, functionARN, keyARN string) error
}

// maxKeyRequest bounds a request of KMS's API: a policy of 32 KB in JSON.
const maxKeyRequest = 256 << 10

// serveKMS serves KMS's API, which speaks AWS's JSON protocol 1.1.
func (s *Server) serveKMS(c *call, p *sigv4.Pending) error {
	if err := s.checkRegion(p); err != nil {
		return err
	}
	body, err := readBody(c, p, maxKeyRequest)
	if err != nil {
		return err
	}
	if c.r.Method != http.MethodPost || c.r.URL.Path != "/" {
		return awserr.New("UnknownOperationException", "KMS's operations are POST / with the header X-Amz-Target.")
	}
	status, answer := s.cfg.KMS.Serve(c.r.Context(), c.Identity, s.describer(c), c.r.Header.Get("X-Amz-Target"), body)
	s.reply(c, status, "application/x-amz-json-1.1", answer)
	return nil
}

// reply writes an answer that a service has made whole.
func (s *Server) reply(c *call, status int, kind string, body []byte) {
	s.write(c, &answer{status: status, header: http.Header{"Content-Type": {kind}}, body: body})
}

// environment is a function's variables as the API shows them to the caller,
// or why it cannot.
func (s *Server) environment(ctx context.Context, c *call, r *function.Record) *types.EnvironmentResponse {
	err := s.mayUseKey(ctx, c, "kms:Decrypt", r, r.Latest.KMSKey)
	var variables map[string]string
	if err == nil {
		variables, err = s.cfg.Functions.Environment(ctx, r)
	}
	switch e, ok := awserr.As(err); {
	case err == nil && variables == nil:
		return nil
	case err == nil:
		return &types.EnvironmentResponse{Variables: variables}
	case ok:
		code := e.Code
		if code != "KMSInvalidStateException" { // KMS itself calls it so
			code = strings.TrimPrefix(code, "KMS")
		}
		return &types.EnvironmentResponse{Error: &types.EnvironmentError{ErrorCode: &code, Message: &e.Message}}
	default:
		s.cfg.Log.ErrorContext(ctx, "api: a function's environment cannot be shown", "function", r.ARN(), "error", err)
		e := awserr.Internal()
		return &types.EnvironmentResponse{Error: &types.EnvironmentError{ErrorCode: &e.Code, Message: &e.Message}}
	}
}

// mayUseKey says whether the caller may use a function's key.
func (s *Server) mayUseKey(ctx context.Context, c *call, action string, r *function.Record, key string) error {
	if key == "" {
		return nil
	}
	if s.cfg.KMS == nil {
		return badValue("KMSKeyArn is not supported by this Hearth: it has no key service. Leave it out.")
	}
	return s.cfg.KMS.AuthorizeEnvironment(ctx, c.Identity, s.describer(c), action, r.ARN(), key)
}

// mayRekey says whether the caller may have Lambda seal a function's variables
// as a request asks: with the key that it names, or else the function's.
func (s *Server) mayRekey(ctx context.Context, c *call, r *function.Record, key *string, variables *types.Environment) error {
	if key == nil && variables == nil {
		return nil
	}
	next := r.Latest.KMSKey
	if key != nil {
		next = *key
	}
	if next != r.Latest.KMSKey && variables == nil {
		// The present variables are sealed anew.
		if err := s.mayUseKey(ctx, c, "kms:Decrypt", r, r.Latest.KMSKey); err != nil {
			return err
		}
	}
	if err := s.mayUseKey(ctx, c, "kms:CreateGrant", r, next); err != nil {
		return err
	}
	return s.mayUseKey(ctx, c, "kms:Encrypt", r, next)
}
