package iam

import (
	"context"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"hearth/internal/awserr"
	"hearth/internal/awsquery"
	"hearth/internal/policy"
)

// Namespaces of the answers.
const (
	iamNamespace = "https://iam.amazonaws.com/doc/2010-05-08/"
	stsNamespace = "https://sts.amazonaws.com/doc/2011-06-15/"
)

// call is one request.
type call struct{ *awsquery.Call }

// account is the caller's.
func (c *call) account() string { return c.Caller.AccountID }

// operation is one of IAM's or STS's.
type operation struct {
	serve func(ctx context.Context, s *Service, c *call) (any, error)
	// about is what the caller must be allowed to touch; nil for operations on
	// the whole account.
	about func(s *Service, c *call) subject
	// open operations decide for themselves who may call them.
	open bool
}

// subject is what an operation is about.
type subject struct {
	arn  string
	tags map[string]string
	// boundary is that of a user or role that is there already.
	boundary string
}

// Serve answers a request of the query protocol with the XML of its answer.
// Errors are *awserr.Error, or faults.
func (s *Service) Serve(ctx context.Context, asked *awsquery.Call) ([]byte, error) {
	c := &call{asked}
	action := c.Get("Action")
	operations, namespace := iamOperations, iamNamespace
	if c.Service == "sts" {
		operations, namespace = stsOperations, stsNamespace
	}
	op, ok := operations[action]
	if !ok {
		return nil, awserr.New("InvalidAction", "Could not find operation %.64s for version %.32s", action, c.Get("Version"))
	}
	if !op.open {
		if c.Caller == nil {
			return nil, awserr.New("MissingAuthenticationTokenException", "Missing Authentication Token")
		}
		if err := s.authorizeCall(ctx, c, action, op); err != nil {
			return nil, queryDenied(err)
		}
	}
	result, err := op.serve(ctx, s, c)
	if err != nil {
		return nil, err
	}
	return c.Answer(action, namespace, result)
}

// authorizeCall asks whether the caller may run an operation.
func (s *Service) authorizeCall(ctx context.Context, c *call, action string, op operation) error {
	id, err := identityOf(c.Caller)
	if err != nil {
		return err
	}
	if id.session != nil && id.Kind != policy.RoleSession {
		// Keys of GetSessionToken would otherwise make themselves long-lived
		// ones. AWS asks for a second factor here, and Hearth has none.
		return awserr.New("UnrecognizedClientException", "The security token included in the request is invalid.")
	}
	about := subject{arn: "*"}
	if op.about != nil {
		about = op.about(s, c)
	}
	r := c.request(c.Service+":"+action, about.arn, c.account())
	r.Keys.Time = s.cfg.Clock()
	if len(about.tags) > 0 {
		r.Keys.SetTags(policy.TagsOfResource, about.tags)
		r.Keys.SetTags("iam:resourcetag/", about.tags)
	}
	if about.boundary != "" && boundaryMatters[action] {
		r.Keys.Set(policy.KeyPermissionsBoundary, about.boundary)
	}
	return s.Authorize(ctx, c.Caller, r, nil)
}

// boundaryMatters has the operations for which iam:PermissionsBoundary is the
// boundary that the user or role has. For those that set one it is the new
// one (AWS's service authorization reference, "IAM").
var boundaryMatters = map[string]bool{
	"AttachUserPolicy": true, "DetachUserPolicy": true, "PutUserPolicy": true, "DeleteUserPolicy": true, "DeleteUserPermissionsBoundary": true,
	"AttachRolePolicy": true, "DetachRolePolicy": true, "PutRolePolicy": true, "DeleteRolePolicy": true, "DeleteRolePermissionsBoundary": true,
}

// queryDenied is a refusal under the name it has in the query protocol.
func queryDenied(err error) error {
	if e, ok := awserr.As(err); ok && e.Code == "AccessDeniedException" {
		return awserr.New("AccessDenied", "%s", e.Message)
	}
	return err
}

// request is a request with the keys that every request has.
func (c *call) request(action, resource, owner string) *policy.Request {
	r := &policy.Request{Action: action, Resource: resource, ResourceAccount: owner}
	r.Keys.SourceIP = c.SourceIP
	r.Keys.SetBool("aws:SecureTransport", c.Secure)
	if c.UserAgent != "" {
		r.Keys.Set("aws:UserAgent", c.UserAgent)
	}
	if c.Caller != nil && c.Caller.Scope.Region != "" {
		r.Keys.Set(policy.KeyRequestedRegion, c.Caller.Scope.Region)
	}
	tags := c.tags()
	if len(tags) > 0 {
		r.Keys.SetTags(policy.TagsOfRequest, tags)
	}
	if names := append(slices.Sorted(maps.Keys(tags)), c.List("TagKeys")...); len(names) > 0 {
		r.Keys.SetList(policy.KeyTagKeys, names)
	}
	for key, name := range map[string]string{"iam:PolicyARN": "PolicyArn", "iam:PermissionsBoundary": "PermissionsBoundary"} {
		if v := c.Get(name); v != "" {
			r.Keys.Set(key, v)
		}
	}
	return r
}

// Bounds of names, as IAM's API reference gives them.
var (
	namePattern   = regexp.MustCompile(`^[\w+=,.@-]{1,128}$`)
	pathPattern   = regexp.MustCompile(`^(/|/[\x21-\x7e]{1,510}/)$`)
	maxUserName   = 64
	maxPolicyName = 128
)

func invalid(format string, args ...any) error { return awserr.New("ValidationError", format, args...) }

// name reads a name that must be there.
func (c *call) name(parameter string, limit int) (string, error) {
	v := c.Get(parameter)
	switch {
	case v == "":
		return "", missing(parameter)
	case len(v) > limit:
		return "", invalid("1 validation error detected: Value '%.140s' at '%s' failed to satisfy constraint: Member must have length less than or equal to %d",
			v, lower(parameter), limit)
	case !namePattern.MatchString(v):
		return "", invalid("The specified value for %s is invalid. "+
			"It must contain only alphanumeric characters and/or the following: +=,.@_-", lower(parameter))
	}
	return v, nil
}

func missing(parameter string) error {
	return invalid("1 validation error detected: Value null at '%s' failed to satisfy constraint: Member must not be null", lower(parameter))
}

// maxDescription bounds the descriptions of roles and policies.
const maxDescription = 1000

func tooLong(parameter string, limit int) error {
	return invalid("1 validation error detected: Value at '%s' failed to satisfy constraint: Member must have length less than or equal to %d",
		lower(parameter), limit)
}

func lower(s string) string { return strings.ToLower(s[:1]) + s[1:] }

// path reads a path, which is / if none is given.
func (c *call) path() (string, error) {
	p := c.Get("Path")
	if p == "" {
		return "/", nil
	}
	if !pathPattern.MatchString(p) {
		return "", badPath("path")
	}
	return p, nil
}

func badPath(parameter string) error {
	return invalid("The specified value for %s is invalid. "+
		"It must begin and end with / and contain only alphanumeric characters and/or / characters.", parameter)
}

// tags reads the tags of a request.
func (c *call) tags() map[string]string { return c.Pairs("Tags", "Key", "Value") }

const maxTags = 50

func checkTags(tags map[string]string) error {
	if len(tags) > maxTags {
		return awserr.New("LimitExceeded", "The number of tags has reached the maximum limit.")
	}
	seen := make(map[string]bool, len(tags))
	for k, v := range tags {
		if seen[strings.ToLower(k)] {
			return awserr.New("InvalidInput", "Duplicate tag keys found. Please note that Tag keys are case insensitive.")
		}
		seen[strings.ToLower(k)] = true
		if k == "" || len(k) > 128 || len(v) > 256 || strings.HasPrefix(strings.ToLower(k), "aws:") {
			return awserr.New("InvalidInput", "A tag has a key of 1 to 128 characters that does not begin with aws:, and a value of at most 256.")
		}
	}
	return nil
}

// document checks a policy document and returns it as it was sent.
func document(kind policy.Kind, text string, quota int) (string, error) {
	if text == "" {
		return "", missing("PolicyDocument")
	}
	if decoded, err := url.PathUnescape(text); err == nil && strings.HasPrefix(strings.TrimSpace(text), "%7B") {
		text = decoded
	}
	d, err := policy.Parse(kind, "policy", []byte(text))
	if err != nil {
		return "", awserr.New("MalformedPolicyDocument", "%s", err.Error())
	}
	if d.Size() > quota {
		name := "PolicySize"
		if kind == policy.KindTrust {
			name = "ACLSizePerRole"
		}
		return "", awserr.New("LimitExceeded", "Cannot exceed quota for %s: %d", name, quota)
	}
	return text, nil
}

// shown is a document as IAM's answers carry it.
func shown(document string) string { return strings.ReplaceAll(url.QueryEscape(document), "+", "%20") }

func date(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05Z") }

func noEntity(format string, args ...any) error { return awserr.New("NoSuchEntity", format, args...) }
