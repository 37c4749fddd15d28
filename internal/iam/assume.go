package iam

import (
	"context"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"hearth/internal/awserr"
	"hearth/internal/policy"
)

type assumedUser struct {
	AssumedRoleID string `json:"AssumedRoleId" xml:"AssumedRoleId"`
	Arn           string
}

type assumeResult struct {
	SubjectFromWebIdentityToken string `json:",omitempty" xml:",omitempty"`
	AssumedRoleUser             assumedUser
	Credentials                 xmlCredentials
	PackedPolicySize            int    `json:",omitempty" xml:",omitempty"`
	Provider                    string `json:",omitempty" xml:",omitempty"`
	Audience                    string `json:",omitempty" xml:",omitempty"`
	SourceIdentity              string `json:",omitempty" xml:",omitempty"`
}

func assumeRole(ctx context.Context, s *Service, c *call) (any, error) {
	id, err := c.identity()
	if err != nil {
		return nil, err
	}
	life, err := c.checkAssume()
	if err != nil {
		return nil, err
	}
	if id.Kind == policy.RootUser {
		request := s.assumeRequest(c, "sts:AssumeRole", c.Get("RoleArn"), accountOf(c.Get("RoleArn")), &session{})
		s.auditUntrusted(c, id, request)
		return nil, awserr.New("AccessDenied", "Roles may not be assumed by root accounts.")
	}
	made := session{Chained: id.Kind == policy.RoleSession}
	if err := made.inherit(id.session, c); err != nil {
		return nil, err
	}
	r, err := s.mayAssume(ctx, c, id, &made)
	if err != nil {
		return nil, err
	}
	if made.Chained && life > maxChained {
		return nil, invalid("The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining")
	}
	return s.assume(ctx, c, r, life, made)
}

// maxExternalID bounds ExternalId, as STS's API reference gives it.
const maxExternalID = 1224

// checkAssume checks the form of a request for a role's session.
func (c *call) checkAssume() (life time.Duration, err error) {
	for _, name := range []string{"RoleArn", "RoleSessionName"} {
		if c.Get(name) == "" {
			return 0, missing(name)
		}
	}
	if _, kind, _, ok := parseARN(c.Get("RoleArn")); !ok || kind != "role" {
		return 0, invalid("%.200s is invalid", c.Get("RoleArn"))
	}
	for name, form := range map[string]*regexp.Regexp{"RoleSessionName": sessionName, "SourceIdentity": sessionName, "ExternalId": externalID} {
		if v := c.Get(name); c.Has(name) && !form.MatchString(v) {
			return 0, invalid("1 validation error detected: Value '%.64s' at '%s' failed to satisfy constraint: "+
				"Member must satisfy regular expression pattern: %s", v, lower(name), strings.Trim(form.String(), "^$"))
		}
	}
	if len(c.Get("ExternalId")) > maxExternalID {
		return 0, tooLong("ExternalId", maxExternalID)
	}
	if c.Has("SerialNumber") || c.Has("TokenCode") {
		return 0, awserr.New("AccessDenied", "MultiFactorAuthentication failed, must provide both MFA serial number and one time pass code: "+
			"Hearth has no MFA devices.")
	}
	if c.Has("ProvidedContexts.member.1.ProviderArn") {
		return 0, invalid("ProvidedContexts are not supported: Hearth has no IAM Identity Center.")
	}
	return c.duration(time.Hour, maxAssumed)
}

// inherit gives a session what the one that makes it passes on, and what the
// call adds.
func (c *session) inherit(from *session, by *call) error {
	c.Tags, c.Transitive = by.tags(), by.List("TransitiveTagKeys")
	c.SourceIdentity = by.Get("SourceIdentity")
	for _, k := range c.Transitive {
		if !hasFold(c.Tags, k) {
			return invalid("The transitive tag key %.128s is not among the request's tags.", k)
		}
	}
	if from == nil {
		return checkTags(c.Tags)
	}
	for _, k := range from.Transitive {
		if hasFold(c.Tags, k) {
			return invalid("One of the specified transitive tag keys can't be set because it conflicts with a transitive tag key from the calling session.")
		}
	}
	for k, v := range from.Tags {
		if slices.ContainsFunc(from.Transitive, func(t string) bool { return strings.EqualFold(t, k) }) {
			c.Tags[k] = v
		}
	}
	c.Transitive = append(c.Transitive, from.Transitive...)
	if from.SourceIdentity != "" {
		if c.SourceIdentity != "" && c.SourceIdentity != from.SourceIdentity {
			return awserr.New("AccessDenied", "The source identity of a session cannot be changed.")
		}
		c.SourceIdentity = from.SourceIdentity
	}
	return checkTags(c.Tags)
}

// mayAssume finds the role that a call names, if the caller may have the
// session. Who may not is told the same of a role that is there and of one
// that is not.
func (s *Service) mayAssume(ctx context.Context, c *call, id *identity, made *session) (*role, error) {
	arn := c.Get("RoleArn")
	owner := accountOf(arn)
	var trust *policy.Document
	r, ok := s.roleByARN(arn)
	if ok {
		trust, ok = s.trustOf(r)
	}
	actions := []string{"sts:AssumeRole"}
	if len(made.Tags) > 0 {
		actions = append(actions, "sts:TagSession")
	}
	if made.SourceIdentity != "" {
		actions = append(actions, "sts:SetSourceIdentity")
	}
	for _, action := range actions {
		request := s.assumeRequest(c, action, arn, owner, made)
		denied := awserr.New("AccessDenied", "User: %s is not authorized to perform: %s on resource: %.200s", id.ARN, action, arn)
		if !ok {
			s.auditUntrusted(c, id, request)
			return nil, denied
		}
		err := s.Authorize(ctx, c.Caller, request, trust)
		if _, refused := awserr.As(err); refused {
			return nil, denied
		}
		if err != nil {
			return nil, err
		}
	}
	return r, nil
}

// auditUntrusted leaves a line of a request that no trust policy was asked for.
func (s *Service) auditUntrusted(c *call, id *identity, r *policy.Request) {
	r.Principal = &id.Principal
	s.audit(c.Caller, r, policy.Decision{Missing: policy.KindTrust})
}

func (s *Service) assumeRequest(c *call, action, arn, owner string, made *session) *policy.Request {
	form := url.Values{} // but the tags, which are those that the session gets
	for name, values := range c.Form {
		if !strings.HasPrefix(name, "Tags.") {
			form[name] = values
		}
	}
	asked := *c.Call
	asked.Form = form
	r := (&call{&asked}).request(action, arn, owner)
	r.Keys.Time = s.cfg.Clock()
	if len(made.Tags) > 0 {
		r.Keys.SetTags(policy.TagsOfRequest, made.Tags)
		r.Keys.SetList(policy.KeyTagKeys, slices.Sorted(maps.Keys(made.Tags)))
	}
	if len(made.Transitive) > 0 {
		r.Keys.SetList(policy.KeyTransitiveTagKeys, made.Transitive)
	}
	r.Keys.Set(policy.KeyRoleSessionName, c.Get("RoleSessionName"))
	if v := c.Get("ExternalId"); v != "" {
		r.Keys.Set(policy.KeyExternalID, v)
	}
	if made.SourceIdentity != "" {
		r.Keys.Set(policy.KeySourceIdentity, made.SourceIdentity)
	}
	return r
}

// assume makes the session of a role that the caller may assume.
func (s *Service) assume(ctx context.Context, c *call, r *role, life time.Duration, made session) (*assumeResult, error) {
	if life > time.Duration(r.MaxSession)*time.Second {
		return nil, invalid("The requested DurationSeconds exceeds the MaxSessionDuration set for this role.")
	}
	name := c.Get("RoleSessionName")
	made.Account, made.Role, made.ID, made.Name = r.Account, r.Name, r.ID, name
	var err error
	if made.Inline, made.Policies, err = s.sessionPolicies(c, r.Account); err != nil {
		return nil, err
	}
	packed := made.packedSize()
	if packed > 100 {
		return nil, awserr.New("PackedPolicyTooLarge", "Packed size of session tags and policies consumes %d%% of allotted space.", packed)
	}
	keys, err := s.issue(ctx, made, life)
	if err != nil {
		return nil, err
	}
	return &assumeResult{
		AssumedRoleUser: assumedUser{r.ID + ":" + name, "arn:aws:sts::" + r.Account + ":assumed-role/" + r.Name + "/" + name},
		Credentials:     shownCredentials(keys), PackedPolicySize: packed, SourceIdentity: made.SourceIdentity,
	}, nil
}

// maxPacked is how many characters of policies and tags a session can carry.
const maxPacked = 6 << 10

// packedSize is what a session's policies and tags take of that, in percent.
func (c *session) packedSize() int {
	n := len(c.Inline)
	for _, arn := range c.Policies {
		n += len(arn)
	}
	for k, v := range c.Tags {
		n += len(k) + len(v)
	}
	return (100*n + maxPacked - 1) / maxPacked
}

// sessionPolicies reads what limits a session.
func (s *Service) sessionPolicies(c *call, account string) (inline string, arns []string, err error) {
	if text := c.Get("Policy"); text != "" {
		if len(text) > policy.QuotaSession {
			return "", nil, tooLong("Policy", policy.QuotaSession)
		}
		if inline, err = document(policy.KindSession, text, policy.QuotaSession); err != nil {
			return "", nil, err
		}
	}
	for i := 1; ; i++ {
		arn := c.Get("PolicyArns.member." + strconv.Itoa(i) + ".arn")
		if arn == "" {
			return inline, arns, nil
		}
		if _, ok := s.managedByARN(arn); !ok || !ownOrAWS(arn, account) {
			return "", nil, noManaged(arn)
		}
		if arns = append(arns, arn); len(arns) > maxPolicies {
			return "", nil, awserr.New("PackedPolicyTooLarge", "At most %d managed policies can be passed.", maxPolicies)
		}
	}
}
