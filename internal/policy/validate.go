package policy

import (
	"fmt"
	"slices"
	"strings"
)

// validate checks what the grammar and the kind of the policy ask for
// (https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_grammar.html).
func (d *Document) validate() error {
	if d.Version != "" && d.Version != Version2008 && d.Version != Version2012 {
		return syntax("Version", "%q is neither %q nor %q", d.Version, Version2012, Version2008)
	}
	if len(d.Statements) == 0 {
		return syntax("Statement", "the list is empty")
	}
	sids := map[string]bool{}
	for i := range d.Statements {
		s, where := &d.Statements[i], d.place(i)
		if err := d.validateSid(s.Sid, where); err != nil {
			return err
		}
		if sids[s.Sid] {
			return &MalformedError{Reason: reasonSids, Where: where, Detail: fmt.Sprintf("%q is there twice", s.Sid)}
		}
		sids[s.Sid] = s.Sid != ""
		if err := d.validateStatement(s, where); err != nil {
			return err
		}
	}
	return nil
}

func (d *Document) validateSid(sid, where string) error {
	switch {
	case d.Kind == KindResource:
		// Each service has its own rule here.
	case !isLetters(sid):
		return malformed(where+".Sid", reasonSidLetters)
	}
	return nil
}

func (d *Document) validateStatement(s *Statement, where string) error {
	switch {
	case s.Effect == 0:
		return syntax(where, "the element Effect is missing")
	case s.Action != nil && s.NotAction != nil:
		return syntax(where, "Action and NotAction exclude each other")
	case s.Resource != nil && s.NotResource != nil:
		return syntax(where, "Resource and NotResource exclude each other")
	case s.Action == nil && s.NotAction == nil:
		return malformed(where, reasonNoAction)
	}
	if err := d.validatePrincipal(s, where); err != nil {
		return err
	}
	for _, action := range slices.Concat(s.Action, s.NotAction) {
		if err := d.validateAction(action, where+".Action"); err != nil {
			return err
		}
	}
	if err := d.validateResources(s, where); err != nil {
		return err
	}
	for _, c := range s.Condition {
		if !isKeyName(c.Key) {
			return malformed(where+".Condition."+brief(c.Operator)+"."+brief(c.Key), reasonVendor)
		}
	}
	return nil
}

func (d *Document) validatePrincipal(s *Statement, where string) error {
	switch {
	case !d.Kind.namesPrincipals():
		if s.Principal != nil || s.NotPrincipal != nil {
			return malformed(where, reasonPrincipal)
		}
	case s.Principal != nil && s.NotPrincipal != nil:
		return syntax(where, "Principal and NotPrincipal exclude each other")
	case s.Principal == nil && s.NotPrincipal == nil:
		return malformed(where, reasonNoPrincipal)
	case s.NotPrincipal != nil && d.Kind == KindTrust:
		return syntax(where, "NotPrincipal cannot be used in a trust policy")
	case s.NotPrincipal != nil && s.Effect == Allow:
		return syntax(where, "NotPrincipal cannot be used with Allow, which would let everybody else in; name who is allowed in Principal")
	}
	return nil
}

func (d *Document) validateAction(action, where string) error {
	if action == "*" && d.Kind != KindTrust {
		return nil
	}
	vendor, name, ok := strings.Cut(action, ":")
	switch {
	case !ok && action != "*":
		return &MalformedError{Reason: reasonVendor, Where: where, Detail: brief(action)}
	case strings.Contains(name, ":"):
		return &MalformedError{Reason: reasonColons, Where: where, Detail: brief(action)}
	case d.Kind == KindTrust && (!strings.EqualFold(vendor, "sts") || name == ""):
		return &MalformedError{Reason: reasonTrustActions, Where: where, Detail: brief(action)}
	case vendor != "*" && !isVendor(vendor):
		return malformed(where, fmt.Sprintf("Vendor %s is not valid", vendor))
	case name == "":
		return syntax(where, "%q names no action", action)
	}
	return nil
}

func (d *Document) validateResources(s *Statement, where string) error {
	resources := slices.Concat(s.Resource, s.NotResource)
	if d.Kind == KindTrust {
		if len(resources) > 0 {
			return malformed(where, reasonProhibited)
		}
		return nil
	}
	if len(resources) == 0 {
		return malformed(where, reasonNoResource)
	}
	for _, resource := range resources {
		if err := validateResource(resource, where+".Resource"); err != nil {
			return err
		}
	}
	return nil
}

// validateResource checks a resource's form: "*" or an ARN with all its
// colons, unless a * stands for what is missing.
func validateResource(resource, where string) error {
	if resource == "*" {
		return nil
	}
	parts := strings.SplitN(resource, ":", arnColons+1)
	if len(parts) == 1 || parts[0] != "arn" {
		return malformed(where, fmt.Sprintf(`Resource %s must be in ARN format or "*".`, brief(resource)))
	}
	head, _ := cutARN(resource)
	switch {
	case !isPartition(parts[1]):
		return malformed(where, fmt.Sprintf(`Partition "%s" is not valid for resource "%s".`, brief(parts[1]), brief(resource)))
	case len(parts) > 2 && !isVendor(parts[2]) && resource != "arn:"+parts[1]+":*":
		return malformed(where, reasonWildService)
	case strings.Contains(head, "${"):
		return syntax(where, "variables can stand only after the fifth colon")
	case len(parts) <= arnColons && !strings.HasSuffix(resource, "*"):
		return &MalformedError{Reason: reasonLegacy, Where: where, Detail: brief(resource) + " has too few colons for an ARN"}
	}
	return nil
}

// cutARN cuts an ARN at its fifth colon.
func cutARN(s string) (head, resource string) {
	seen := 0
	for i := range len(s) {
		if s[i] != ':' {
			continue
		}
		if seen++; seen == arnColons {
			return s[:i], s[i+1:]
		}
	}
	return s, ""
}

func isPartition(s string) bool {
	return strings.HasPrefix(s, "aws") && isVendor(strings.ReplaceAll(s, "*", "")) || strings.ContainsAny(s, "*?")
}
