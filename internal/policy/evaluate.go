package policy

import (
	"slices"
	"strconv"
)

// Set is the policies that limit a principal: those of the user and its
// groups or of the role, the permissions boundary and the session's. It does
// not change and is safe for concurrent use. A nil *Set has no policies.
type Set struct {
	identity []*Document
	boundary *Document
	session  []*Document

	serial   uint64
	keys     []key
	volatile bool
}

// NewSet puts policies together. There is no boundary if it is nil, and no
// session policy limits if there are none.
func NewSet(identity []*Document, boundary *Document, session []*Document) *Set {
	s := &Set{identity: slices.Clone(identity), boundary: boundary, session: slices.Clone(session), serial: serials.Add(1)}
	for _, d := range slices.Concat(identity, session, []*Document{boundary}) {
		if d == nil {
			continue
		}
		if d.Kind.namesPrincipals() {
			panic("policy: a " + d.Kind.String() + " is not a principal's")
		}
		for _, k := range d.keys {
			s.keys = addKey(s.keys, k)
		}
	}
	s.volatile = isVolatile(s.keys)
	return s
}

// Match names a statement, for the audit log. Its zero value names none: the
// decision was made without, because nothing allowed or because the principal
// is the root user of the account.
type Match struct {
	Kind   Kind
	Policy string // the document's name
	Sid    string
	Index  int // of the statement, from 0
}

// String is how the audit log names the statement.
func (m Match) String() string {
	if m.Kind == KindNone {
		return "no statement"
	}
	s := m.Kind.String()
	if m.Policy != "" {
		s += " " + m.Policy
	}
	s += ", statement " + strconv.Itoa(m.Index)
	if m.Sid != "" {
		s += " (" + m.Sid + ")"
	}
	return s
}

// Decision is the answer to a request.
type Decision struct {
	Allowed bool
	// Explicit says that a statement denies, rather than that none allows.
	Explicit bool
	// By is the statement that decided.
	By Match
	// Missing is the type of policy that would have had to allow and did not.
	Missing Kind
	// Reason is AWS's sentence for a request that is not allowed.
	Reason string
}

// verdict is what all policies of one type say.
type verdict struct {
	denied  bool
	allowed bool
	grant   grant
	by      Match // the statement that denies, else the one that allows
}

// Evaluate decides whether the request is allowed. The resource's own policy
// is nil if it has none.
//
// The order is AWS's: a statement that denies, in any policy; then the
// resource's policy, which in the same account may suffice; then identity
// policies, boundary and session policies, which must all allow. Across
// accounts both sides must allow. See
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html
// and .../reference_policies_evaluation-logic-cross-account.html.
func Evaluate(r *Request, set *Set, resource *Document) Decision {
	if set == nil {
		set = &Set{}
	}
	if resource != nil && !resource.Kind.namesPrincipals() {
		panic("policy: " + resource.Kind.String() + " given as a resource's own: it would name everybody")
	}
	if what := oversized(r, set, resource); what != "" {
		return Decision{Reason: subject(r) + " because " + what + " is too long to be compared with a policy"}
	}
	bounded := set.boundary != nil
	identity := consult(r, KindIdentity, bounded, set.identity...)
	boundary := consult(r, KindBoundary, bounded, set.boundary)
	session := consult(r, KindSession, bounded, set.session...)
	own := consult(r, KindResource, bounded, resource)
	for _, v := range [...]*verdict{&identity, &own, &boundary, &session} {
		if v.denied {
			return deny(r, v)
		}
	}
	c := side{
		request: r, set: set, resource: resource, own: &own,
		identity: &identity, boundary: &boundary, session: &session,
	}
	switch r.Principal.Kind {
	case Anonymous, Service, Federated:
		if own.grant >= throughIssuer {
			return allow(&own)
		}
		return c.lacks(resourceKind(resource))
	default:
	}
	if r.Principal.Account != "" && r.Principal.Account == r.ResourceAccount {
		return c.sameAccount()
	}
	return c.crossAccount()
}

// oversized names what in the request is too long, if anything is.
func oversized(r *Request, set *Set, resource *Document) string {
	if len(r.Action) > maxResource || len(r.Resource) > maxResource {
		return "its action or resource"
	}
	if !r.Keys.long {
		return ""
	}
	if name := r.Keys.tooLong(set.keys); name != "" {
		return name
	}
	if resource == nil {
		return ""
	}
	return r.Keys.tooLong(resource.keys)
}

// consult asks all policies of a type. A statement that denies ends it.
func consult(r *Request, kind Kind, bounded bool, documents ...*Document) verdict {
	var v verdict
	for _, d := range documents {
		if d == nil {
			continue
		}
		for i := range d.compiled {
			s := &d.compiled[i]
			if v.allowed && s.effect == Allow && v.grant == direct {
				continue
			}
			g, ok := s.applies(r, bounded)
			if !ok {
				continue
			}
			by := Match{Kind: kind, Policy: d.Name, Sid: d.Statements[i].Sid, Index: i}
			if kind == KindResource {
				by.Kind = d.Kind
			}
			if s.effect == Deny {
				return verdict{denied: true, by: by}
			}
			if g > v.grant {
				v.allowed, v.grant, v.by = true, g, by
			}
		}
	}
	return v
}

// side is what is known once nothing denies.
type side struct {
	request                     *Request
	set                         *Set
	resource                    *Document
	own                         *verdict
	identity, boundary, session *verdict
}

func (s *side) sameAccount() Decision {
	required := s.request.MustGrant || s.resource != nil && s.resource.Kind == KindTrust
	switch {
	case required && !s.own.allowed:
		return s.lacks(resourceKind(s.resource))
	case s.request.Principal.Kind == RootUser:
		return allow(s.own)
	case s.own.grant == direct:
		return allow(s.own)
	case s.own.grant == throughIssuer:
		if missing := s.limit(); missing != KindNone {
			return s.lacks(missing)
		}
		return allow(s.own)
	}
	return s.ofPrincipal()
}

func (s *side) crossAccount() Decision {
	if s.request.Principal.Kind != RootUser {
		if d := s.ofPrincipal(); !d.Allowed {
			return d
		}
	}
	if !s.own.allowed {
		return s.lacks(resourceKind(s.resource))
	}
	return allow(s.own)
}

// ofPrincipal decides by the principal's own policies.
func (s *side) ofPrincipal() Decision {
	if !s.identity.allowed {
		return s.lacks(KindIdentity)
	}
	if missing := s.limit(); missing != KindNone {
		return s.lacks(missing)
	}
	return allow(s.identity)
}

// limit is the type of policy that limits and does not allow.
func (s *side) limit() Kind {
	switch {
	case s.set.boundary != nil && !s.boundary.allowed:
		return KindBoundary
	case !s.session.allowed && (len(s.set.session) > 0 || s.request.Principal.Kind == FederatedUser):
		return KindSession // a federated user may do nothing but what was passed
	}
	return KindNone
}

func (s *side) lacks(kind Kind) Decision {
	return Decision{Missing: kind, Reason: reasonMissing(s.request, kind)}
}

func resourceKind(d *Document) Kind {
	if d != nil && d.Kind == KindTrust {
		return KindTrust
	}
	return KindResource
}

func allow(v *verdict) Decision { return Decision{Allowed: true, By: v.by} }

func deny(r *Request, v *verdict) Decision {
	return Decision{Explicit: true, By: v.by, Reason: reasonDenied(r, v.by.Kind)}
}

// The sentences are those of
// https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot_access-denied.html.

func reasonMissing(r *Request, kind Kind) string {
	return subject(r) + " because no " + kind.String() + " allows the " + r.Action + " action"
}

func reasonDenied(r *Request, kind Kind) string {
	article := "a "
	switch kind {
	case KindIdentity:
		article = "an "
	case KindTrust:
		article = "the "
	default:
	}
	return subject(r) + " with an explicit deny in " + article + kind.String()
}

func subject(r *Request) string {
	name := r.Principal.ARN
	if r.Principal.Kind == Anonymous || name == "" {
		name = "anonymous"
	}
	s := "User: " + name + " is not authorized to perform: " + brief(r.Action)
	if r.Resource == "" {
		return s
	}
	return s + " on resource: " + brief(r.Resource)
}
