package iam

import (
	"strings"

	"hearth/internal/awserr"
	"hearth/internal/policy"
)

// trustPolicy is a role's trust policy, ready to be asked.
type trustPolicy struct {
	of       *role // the record that it was made of
	document *policy.Document
}

// trustOf returns who may assume a role; not ok if that cannot be read, and
// then nobody may.
func (s *Service) trustOf(r *role) (*policy.Document, bool) {
	k := entityKey(r.Account, r.Name)
	if v, ok := s.trusted.Load(k); ok {
		if t := v.(*trustPolicy); t.of == r {
			return t.document, t.document != nil
		}
	}
	t := &trustPolicy{of: r, document: readTrust(r)}
	s.trusted.Store(k, t)
	return t.document, t.document != nil
}

// readTrust parses a role's trust policy, with the ids of the users and roles
// that it names in place of their ARNs.
func readTrust(r *role) *policy.Document {
	d, err := policy.Parse(policy.KindTrust, r.arn(), []byte(r.Trust))
	if err != nil {
		return nil
	}
	if len(r.Pins) == 0 {
		return d
	}
	pinned := policy.Document{Version: d.Version, ID: d.ID, Statements: d.Statements}
	for _, p := range principalsOf(d) {
		for i, arn := range p.AWS {
			if id, ok := r.Pins[arn]; ok {
				p.AWS[i] = id
			}
		}
	}
	text, err := pinned.MarshalJSON()
	if err != nil {
		return nil
	}
	if d, err = policy.Parse(policy.KindTrust, r.arn(), text); err != nil {
		return nil
	}
	return d
}

func principalsOf(d *policy.Document) []*policy.Principals {
	var all []*policy.Principals
	for i := range d.Statements {
		if p := d.Statements[i].Principal; p != nil {
			all = append(all, p)
		}
	}
	return all
}

// trustDocument reads the trust policy that a call brings, and the ids of the
// users and roles that it names, who must be there.
func (s *Service) trustDocument(c *call, parameter string) (text string, pins map[string]string, err error) {
	if c.Get(parameter) == "" {
		return "", nil, missing(parameter)
	}
	text, err = document(policy.KindTrust, c.Get(parameter), policy.QuotaTrust)
	if err != nil {
		return "", nil, err
	}
	d, err := policy.Parse(policy.KindTrust, "", []byte(text))
	if err != nil {
		return "", nil, err
	}
	pins = make(map[string]string)
	for _, p := range principalsOf(d) {
		for _, arn := range p.AWS {
			_, kind, _, ok := parseARN(arn)
			if !ok || kind != "user" && kind != "role" {
				continue // an account, a session, an id
			}
			id, ok := s.idOf(arn)
			if !ok {
				return "", nil, awserr.New("MalformedPolicyDocument", `Invalid principal in policy: "AWS":"%.200s"`, arn)
			}
			pins[arn] = id
		}
	}
	return text, pins, nil
}

// idOf is the unique id of the user or role of an ARN.
func (s *Service) idOf(arn string) (string, bool) {
	if r, ok := s.roleByARN(arn); ok {
		return r.ID, true
	}
	account, kind, name, ok := parseARN(arn)
	if !ok || kind != "user" {
		return "", false
	}
	u, ok := s.userNamed(account, name)
	if !ok || u.arn() != arn {
		return "", false
	}
	return u.ID, true
}

// shownTrust is a role's trust policy as it was sent, but with the ids of users
// and roles who are gone, as AWS shows it.
func (s *Service) shownTrust(r *role) string {
	text := r.Trust
	for arn, id := range r.Pins {
		if now, ok := s.idOf(arn); !ok || now != id {
			text = strings.ReplaceAll(text, `"`+arn+`"`, `"`+id+`"`)
		}
	}
	return text
}
