package iam

import (
	"context"
	"maps"
	"slices"
	"time"

	"hearth/internal/arn"
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
	id.session.addKeys(&r.Keys)
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
	if !s.cfg.Audits(r.Action, d.Allowed) {
		return // a warm invoke's line would be made for nothing
	}
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

// PassRole says whether a caller may give Lambda the role that is the request's
// resource, and whether Lambda can assume it for a function, whose ARN may be
// empty. The request has the keys that every request has.
func (s *Service) PassRole(ctx context.Context, caller *sigv4.Identity, r *policy.Request, function string) error {
	id, err := identityOf(caller)
	if err != nil {
		return err
	}
	if account, kind, _, ok := parseARN(r.Resource); ok && kind == "role" && account != id.Account {
		return awserr.New("AccessDeniedException", "Cross-account pass role is not allowed.")
	}
	r.Action, r.ResourceAccount = "iam:PassRole", id.Account
	r.Keys.Set(policy.KeyPassedToService, lambdaService)
	if function != "" {
		r.Keys.Set(policy.KeyAssociatedResource, function)
	}
	passed, ok := s.roleByARN(r.Resource)
	if ok && len(passed.Tags) > 0 {
		r.Keys.SetTags(policy.TagsOfResource, passed.Tags)
		r.Keys.SetTags("iam:resourcetag/", passed.Tags)
	}
	if err := s.Authorize(ctx, caller, r, nil); err != nil {
		return err
	}
	if !ok || !s.lambdaTrusted(passed, function) {
		return notAssumable()
	}
	return nil
}

const cannotAssume = "The role defined for the function cannot be assumed by Lambda."

// notAssumable is what the maker of a function gets, notAssumed the caller of
// one.
func notAssumable() error { return awserr.New("InvalidParameterValueException", cannotAssume) }
func notAssumed() error   { return awserr.New("AccessDeniedException", cannotAssume) }

// lambdaTrusted says whether a role's trust policy lets Lambda assume it for a
// function.
func (s *Service) lambdaTrusted(r *role, function string) bool {
	trust, ok := s.trustOf(r)
	if !ok {
		return false
	}
	request := &policy.Request{
		Principal: &policy.Principal{Kind: policy.Service, ARN: lambdaService},
		Action:    "sts:AssumeRole", Resource: r.arn(), ResourceAccount: r.Account,
	}
	request.Keys.Time = s.cfg.Clock()
	request.Keys.Set(policy.KeySourceAccount, r.Account)
	if function != "" {
		request.Keys.Set(policy.KeySourceARN, function)
	}
	return s.cache.Evaluate(request, nil, trust).Allowed
}

// FunctionSession makes the keys of a function's role, as Lambda hands them to
// an environment. The session has the function's name. If the role is gone, or
// trusts Lambda no more, the error is what AWS answers the invoke with that
// needed the environment.
func (s *Service) FunctionSession(ctx context.Context, roleARN, function string, life time.Duration) (Credentials, error) {
	r, ok := s.roleByARN(roleARN)
	if !ok || !s.lambdaTrusted(r, function) {
		return Credentials{}, notAssumed()
	}
	f, err := arn.Parse(function)
	if err != nil || f.Account != r.Account {
		return Credentials{}, notAssumed()
	}
	return s.issue(ctx, session{Account: r.Account, Role: r.Name, ID: r.ID, Name: f.Name}, life)
}

func (s *Service) roleByARN(arn string) (*role, bool) {
	account, kind, name, ok := parseARN(arn)
	if !ok || kind != "role" {
		return nil, false
	}
	r, ok := s.roles.Lookup(entityKey(account, name))
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

// policySet is a principal's policies, as long as what they were read from is
// the same.
type policySet struct {
	of      *entity
	managed []source
	set     *policy.Set
}

// source is the record that a managed policy was read from.
type source struct {
	arn    string
	record *managed
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
		if u, ok := s.userNamed(id.Account, id.Name); ok && u.ID == id.ID {
			e, k.kind, k.name = &u.entity, "user", u.Name
		}
	case id.session != nil:
		if r, ok := s.roleNamed(id.Account, id.session.Role); ok && r.ID == id.session.ID {
			e, k.kind, k.name, k.id = &r.entity, "role", r.Name, r.ID
		}
	}
	if id.session != nil && (id.session.Inline != "" || len(id.session.Policies) > 0) {
		k.session = id.session
	}
	if v, ok := s.sets.Load(k); ok && s.current(v.(*policySet), e) {
		return v.(*policySet).set
	}
	p := s.newSet(e, k.session)
	if _, replaced := s.sets.Swap(k, p); !replaced && s.setCount.Add(1) > maxSets {
		s.sets.Clear()
		s.setCount.Store(0)
	}
	return p.set
}

// current says whether nothing has changed that a set was made of.
func (s *Service) current(p *policySet, e *entity) bool {
	if p.of != e {
		return false
	}
	for _, m := range p.managed {
		if now, _ := s.managedByARN(m.arn); now != m.record {
			return false
		}
	}
	return true
}

// newSet reads a principal's policies. Policies are checked when they are
// stored; if one cannot be read all the same, it denies everything, for it may
// have been there to deny.
func (s *Service) newSet(e *entity, c *session) *policySet {
	p := &policySet{of: e}
	fromARN := func(kind policy.Kind, arn string) *policy.Document {
		m, ok := s.managedByARN(arn)
		p.managed = append(p.managed, source{arn, m})
		if !ok {
			return parseOrNothing(kind, arn, "")
		}
		return parseOrNothing(kind, arn, m.version(m.Default).Document)
	}
	var identity, limits []*policy.Document
	var bounds *policy.Document
	if e != nil {
		for _, name := range slices.Sorted(maps.Keys(e.Inline)) {
			identity = append(identity, parseOrNothing(policy.KindIdentity, name, e.Inline[name]))
		}
		for _, arn := range e.Attached {
			identity = append(identity, fromARN(policy.KindIdentity, arn))
		}
		if e.Boundary != "" {
			bounds = fromARN(policy.KindBoundary, e.Boundary)
		}
	}
	if c != nil {
		if c.Inline != "" {
			limits = append(limits, parseOrNothing(policy.KindSession, "session", c.Inline))
		}
		for _, arn := range c.Policies {
			limits = append(limits, fromARN(policy.KindSession, arn))
		}
	}
	p.set = policy.NewSet(identity, bounds, limits)
	return p
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

func key(account, name string) table.Key { return table.Key{Account: account, Name: name} }
