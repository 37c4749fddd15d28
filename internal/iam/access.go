package iam

import (
	"context"
	"time"

	"hearth/internal/audit"
	"hearth/internal/awserr"
	"hearth/internal/policy"
	"hearth/internal/sigv4"
	"hearth/internal/table"
)

// Authorize says whether a verified caller may do what a request asks. It
// fills in the request's principal. A refusal is AccessDeniedException with
// AWS's reason.
func (s *Service) Authorize(_ context.Context, caller *sigv4.Identity, r *policy.Request, resource *policy.Document) error {
	d, err := s.decide(caller, r, resource)
	if err != nil {
		return err
	}
	if !d.Allowed {
		return awserr.New("AccessDeniedException", "%s", d.Reason)
	}
	return nil
}

// decide is Authorize with the decision.
func (s *Service) decide(caller *sigv4.Identity, r *policy.Request, resource *policy.Document) (policy.Decision, error) {
	id, err := identityOf(caller)
	if err != nil {
		return policy.Decision{}, err
	}
	r.Principal = &id.Principal
	d := s.cache.Evaluate(r, s.setOf(id), resource)
	s.audit(caller, r, d)
	return d, nil
}

// AuthorizeAnonymous decides for a request without a signature, or one of a
// service of Hearth's own.
func (s *Service) AuthorizeAnonymous(r *policy.Request, resource *policy.Document) error {
	d := s.cache.Evaluate(r, nil, resource)
	s.audit(&sigv4.Identity{}, r, d)
	if !d.Allowed {
		return awserr.New("AccessDeniedException", "%s", d.Reason)
	}
	return nil
}

func (s *Service) audit(caller *sigv4.Identity, r *policy.Request, d policy.Decision) {
	e := audit.Event{
		Time: s.cfg.Clock(), Account: r.ResourceAccount, Principal: r.Principal.ARN, AccessKey: caller.AccessKeyID, RequestID: caller.RequestID,
		Action: r.Action, Resource: r.Resource, Allowed: d.Allowed, By: d.By.String(),
	}
	if r.Keys.SourceIP.IsValid() {
		e.SourceIP = r.Keys.SourceIP.String()
	}
	if !d.Allowed && !d.Explicit {
		e.By = "no " + d.Missing.String() + " allows it"
	}
	s.cfg.Audit(e)
}

// lambdaService is the principal that functions' roles must trust.
const lambdaService = "lambda.amazonaws.com"

// PassRole says whether a caller may give Lambda a role, and whether Lambda can
// assume it.
func (s *Service) PassRole(ctx context.Context, caller *sigv4.Identity, roleARN string) error {
	r, ok := s.roleByARN(roleARN)
	id, err := identityOf(caller)
	if err != nil {
		return err
	}
	request := &policy.Request{Action: "iam:PassRole", Resource: roleARN, ResourceAccount: id.Account}
	request.Keys.Time = s.cfg.Clock()
	request.Keys.Set("iam:PassedToService", lambdaService)
	if err := s.Authorize(ctx, caller, request, nil); err != nil {
		return err
	}
	if !ok || r.Account != id.Account || !s.trusts(r, policy.Principal{Kind: policy.Service, ARN: lambdaService}) {
		return awserr.New("InvalidParameterValueException", "The role defined for the function cannot be assumed by Lambda.")
	}
	return nil
}

// trusts says whether a role's trust policy lets a service assume it.
func (s *Service) trusts(r *role, p policy.Principal) bool {
	trust, err := policy.Parse(policy.KindTrust, r.arn(), []byte(r.Trust))
	if err != nil {
		return false
	}
	request := &policy.Request{Principal: &p, Action: "sts:AssumeRole", Resource: r.arn(), ResourceAccount: r.Account}
	request.Keys.Time = s.cfg.Clock()
	return policy.Evaluate(request, nil, trust).Allowed
}

// FunctionSession makes the keys of a function's role, as Lambda hands them to
// an environment. If the role is gone, or trusts Lambda no more, the error is
// what AWS answers the invoke with that needed the environment.
func (s *Service) FunctionSession(ctx context.Context, roleARN, function string, life time.Duration) (Credentials, error) {
	r, ok := s.roleByARN(roleARN)
	if !ok || !s.trusts(r, policy.Principal{Kind: policy.Service, ARN: lambdaService}) {
		return Credentials{}, awserr.New("AccessDeniedException", "The role defined for the function cannot be assumed by Lambda.")
	}
	return s.issue(ctx, session{Account: r.Account, Role: r.Name, ID: r.ID, Name: function}, life)
}

func (s *Service) roleByARN(arn string) (*role, bool) {
	account, kind, name, ok := parseARN(arn)
	if !ok || kind != "role" {
		return nil, false
	}
	r, ok := s.roles.Lookup(key(account, name))
	if !ok || r.arn() != arn {
		return nil, false
	}
	return r, true
}

// setKey names a principal and the session that limits it.
type setKey struct {
	account, kind, name, id string
	session                 *session
}

// policySet is a principal's policies as they were at a count of changes.
type policySet struct {
	changes uint64
	set     *policy.Set
}

// maxSets bounds the policy sets that are kept.
const maxSets = 16 << 10

// setOf returns the policies that limit a principal.
func (s *Service) setOf(id *identity) *policy.Set {
	k := setKey{account: id.Account, id: id.ID}
	var e *entity
	switch {
	case id.Kind == policy.RootUser:
	case id.Kind == policy.User:
		if u, ok := s.users.Lookup(key(id.Account, id.Name)); ok {
			e, k.kind, k.name = &u.entity, "user", u.Name
		}
	case id.session != nil:
		if r, ok := s.roles.Lookup(key(id.Account, id.session.Role)); ok && r.ID == id.session.ID {
			e, k.kind, k.name = &r.entity, "role", r.Name
		}
	}
	if id.session != nil && (id.session.Inline != "" || len(id.session.Policies) > 0) {
		k.session = id.session
	}
	changes := s.changes.Load()
	if v, ok := s.sets.Load(k); ok {
		if p := v.(policySet); p.changes == changes {
			return p.set
		}
	}
	p := policySet{changes, s.newSet(e, k.session)}
	if s.setCount.Add(1) > maxSets {
		s.sets.Clear()
		s.setCount.Store(0)
	}
	s.sets.Store(k, p)
	return p.set
}

// newSet reads a principal's policies. One that cannot be read allows nothing;
// policies are checked when they are stored, so a missing one was deleted.
func (s *Service) newSet(e *entity, c *session) *policy.Set {
	var identity, limits []*policy.Document
	var boundary *policy.Document
	if e != nil {
		for name, document := range e.Inline {
			identity = appendParsed(identity, policy.KindIdentity, name, document)
		}
		for _, arn := range e.Attached {
			identity = appendParsed(identity, policy.KindIdentity, arn, s.documentOf(arn))
		}
		if e.Boundary != "" {
			boundary = parseOrNothing(policy.KindBoundary, e.Boundary, s.documentOf(e.Boundary))
		}
	}
	if c != nil {
		if c.Inline != "" {
			limits = append(limits, parseOrNothing(policy.KindSession, "session", c.Inline))
		}
		for _, arn := range c.Policies {
			limits = append(limits, parseOrNothing(policy.KindSession, arn, s.documentOf(arn)))
		}
	}
	return policy.NewSet(identity, boundary, limits)
}

func appendParsed(list []*policy.Document, kind policy.Kind, name, document string) []*policy.Document {
	if d, err := policy.Parse(kind, name, []byte(document)); err == nil {
		list = append(list, d)
	}
	return list
}

// nothing is a policy that allows nothing: what limits a principal must not
// fall away because it cannot be read.
const nothing = `{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Action":"*","Resource":"*"}]}`

func parseOrNothing(kind policy.Kind, name, document string) *policy.Document {
	d, err := policy.Parse(kind, name, []byte(document))
	if err != nil {
		if d, err = policy.Parse(kind, name, []byte(nothing)); err != nil {
			panic(err)
		}
	}
	return d
}

// documentOf returns the document in force of a managed policy.
func (s *Service) documentOf(arn string) string {
	m, ok := s.managedByARN(arn)
	if !ok {
		return ""
	}
	return m.version(m.Default).Document
}

func key(account, name string) table.Key { return table.Key{Account: account, Name: name} }
