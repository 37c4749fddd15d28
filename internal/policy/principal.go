package policy

import (
	"slices"
	"strings"
)

// grant is how directly a Principal element names who makes the request. It
// decides which other policies may still limit what the statement allows
// (https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic_policy-eval-denyallow.html).
type grant uint8

const (
	// ungranted: not named.
	ungranted grant = iota
	// delegated: the account is named. Its own policies must allow too.
	delegated
	// throughIssuer: the role or user is named, and the principal is a session
	// of it. The boundary and session policies still limit.
	throughIssuer
	// direct: the user, the session, the service or everybody is named.
	direct
)

// principals is a compiled Principal element.
type principals struct {
	everyone  bool
	accounts  []string
	arns      []string // of users, roles and sessions
	ids       []string // AIDA…, AROA…
	services  []string
	federated []string
}

// compilePrincipals sorts the element's values. The string is the value that
// is none, as AWS quotes it.
func compilePrincipals(e *Principals) (c *principals, wrong string) {
	c = &principals{everyone: e.everyone(), services: e.Service, federated: e.Federated}
	for _, v := range e.AWS {
		switch {
		case v == "*":
			c.everyone = true
		case isAccount(v):
			c.accounts = append(c.accounts, v)
		case isUniqueID(v):
			c.ids = append(c.ids, v)
		default:
			account, name, ok := cutPrincipalARN(v)
			switch {
			case !ok:
				return nil, `"AWS":` + quote(v)
			case name == "root":
				c.accounts = append(c.accounts, account)
			default:
				c.arns = append(c.arns, v)
			}
		}
	}
	for _, v := range e.Service {
		if !isServiceName(v) {
			return nil, `"SERVICE":` + quote(v)
		}
	}
	for _, v := range e.Federated {
		if v == "" || strings.ContainsAny(v, "*? ") {
			return nil, `"FEDERATED":` + quote(v)
		}
	}
	return c, ""
}

func isAccount(s string) bool {
	const length = 12
	if len(s) != length {
		return false
	}
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return true
}

// isUniqueID reports whether a text is the id of a user or role, which is what
// IAM stores in trust policies so that a namesake gets nothing
// (https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html#identifiers-unique-ids).
func isUniqueID(s string) bool {
	if !strings.HasPrefix(s, "AIDA") && !strings.HasPrefix(s, "AROA") {
		return false
	}
	const shortest, longest = 16, 128
	for i := range len(s) {
		if c := s[i]; !('A' <= c && c <= 'Z' || '0' <= c && c <= '9') {
			return false
		}
	}
	return len(s) >= shortest && len(s) <= longest
}

// cutPrincipalARN returns the account and the last part of an ARN that names a
// principal. Wildcards name nobody.
func cutPrincipalARN(s string) (account, name string, ok bool) {
	parts := strings.SplitN(s, ":", arnColons+1)
	if len(parts) <= arnColons || parts[0] != "arn" || !strings.HasPrefix(parts[1], "aws") || parts[3] != "" ||
		!isAccount(parts[4]) || strings.ContainsAny(s, "*? ") {
		return "", "", false
	}
	account, name = parts[4], parts[5]
	sort, rest, _ := strings.Cut(name, "/")
	switch parts[2] {
	case "iam":
		ok = name == "root" || (sort == "user" || sort == "role") && rest != "" && !strings.HasSuffix(rest, "/")
	case "sts":
		role, session, _ := strings.Cut(rest, "/")
		ok = sort == "assumed-role" && role != "" && session != "" || sort == "federated-user" && rest != ""
	}
	return account, name, ok
}

// isServiceName reports whether a text is a host name of at least two labels.
func isServiceName(s string) bool {
	return isVendor(s) && strings.Contains(s, ".") && !strings.HasPrefix(s, ".") && !strings.HasSuffix(s, ".")
}

// match says how directly the element names the principal.
func (c *principals) match(p *Principal) grant {
	if c.everyone {
		return direct
	}
	switch p.Kind {
	case Service:
		return grantIf(direct, slices.Contains(c.services, p.ARN))
	case Federated:
		return grantIf(direct, slices.Contains(c.federated, p.ARN))
	case RootUser:
		return grantIf(direct, c.hasAccount(p))
	case User:
		if slices.Contains(c.arns, p.ARN) || p.ID != "" && slices.Contains(c.ids, p.ID) {
			return direct
		}
		return grantIf(delegated, c.hasAccount(p))
	case RoleSession, FederatedUser:
		if slices.Contains(c.arns, p.ARN) {
			return direct
		}
		if c.hasIssuer(p) {
			return throughIssuer
		}
		return grantIf(delegated, c.hasAccount(p))
	default:
		return ungranted
	}
}

func grantIf(g grant, ok bool) grant {
	if ok {
		return g
	}
	return ungranted
}

func (c *principals) hasAccount(p *Principal) bool {
	return slices.Contains(c.accounts, p.Account)
}

func (c *principals) hasIssuer(p *Principal) bool {
	if p.Issuer != "" && slices.Contains(c.arns, p.Issuer) {
		return true
	}
	id, _, ok := strings.Cut(p.ID, ":")
	return ok && slices.Contains(c.ids, id)
}

// exempts reports whether a NotPrincipal element spares the principal. It must
// list all that the principal is: the account, the role and, if any session
// of the role is listed, this one. Who has a boundary is never spared
// (https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_notprincipal.html).
func (c *principals) exempts(p *Principal, bounded bool) bool {
	if c.everyone {
		return true
	}
	switch p.Kind {
	case Service, Federated, RootUser:
		return c.match(p) != ungranted
	case User:
		return !bounded && c.hasAccount(p) && c.match(p) == direct
	case FederatedUser:
		return !bounded && c.hasAccount(p) && slices.Contains(c.arns, p.ARN)
	case RoleSession:
		if bounded || !c.hasAccount(p) || !c.hasIssuer(p) {
			return false
		}
		sessions := p.ARN[:strings.LastIndexByte(p.ARN, '/')+1]
		return slices.Contains(c.arns, p.ARN) ||
			!slices.ContainsFunc(c.arns, func(arn string) bool { return sessions != "" && strings.HasPrefix(arn, sessions) })
	default:
		return false
	}
}
