package policy

import (
	"errors"
	"strings"
)

// Permission is what a caller of Lambda's AddPermission wants added to the
// policy of a function, or of AddLayerVersionPermission to that of a layer.
type Permission struct {
	StatementID           string
	Action                string
	Principal             string // a service, an account, an ARN or "*"
	Resource              string // ARN of the function, version, alias or layer version
	PrincipalOrgID        string
	SourceARN             string
	SourceAccount         string
	EventSourceToken      string
	FunctionURLAuthType   string
	InvokedViaFunctionURL bool
}

// ErrPrincipal is AWS's answer to a principal of no known form.
var ErrPrincipal = errors.New("The provided principal was invalid. Please check the principal and try again.") //nolint:revive,staticcheck // AWS's sentence

// Statement is the statement that AWS makes of the permission. Its JSON is
// that of GetPolicy, with the keys in the case that Lambda writes them in.
func (p *Permission) Statement() (Statement, error) {
	named, err := permissionPrincipal(p.Principal, p.Resource)
	if err != nil {
		return Statement{}, err
	}
	s := Statement{Sid: p.StatementID, Effect: Allow, Principal: named, Action: []string{p.Action}, Resource: []string{p.Resource}}
	for _, c := range []Condition{
		{"StringEquals", "lambda:FunctionUrlAuthType", []string{p.FunctionURLAuthType}},
		{"StringEquals", "aws:PrincipalOrgID", []string{p.PrincipalOrgID}},
		{"StringEquals", "AWS:SourceAccount", []string{p.SourceAccount}},
		{"StringEquals", "lambda:EventSourceToken", []string{p.EventSourceToken}},
		{"ArnLike", "AWS:SourceArn", []string{p.SourceARN}},
	} {
		if c.Values[0] != "" {
			s.Condition = append(s.Condition, c)
		}
	}
	if p.InvokedViaFunctionURL {
		s.Condition = append(s.Condition, Condition{"Bool", "lambda:InvokedViaFunctionUrl", []string{"true"}})
	}
	return s, nil
}

// permissionPrincipal sorts a principal by its form. An account is written as
// its root's ARN, in the resource's partition.
func permissionPrincipal(s, resource string) (*Principals, error) {
	if s == "*" {
		return &Principals{}, nil
	}
	if isAccount(s) {
		partition := "aws"
		if parts := strings.SplitN(resource, ":", 3); len(parts) == 3 && parts[0] == "arn" {
			partition = parts[1]
		}
		return &Principals{AWS: []string{"arn:" + partition + ":iam::" + s + ":root"}}, nil
	}
	if _, _, ok := cutPrincipalARN(s); ok {
		return &Principals{AWS: []string{s}}, nil
	}
	for _, domain := range []string{".amazonaws.com", ".amazonaws.com.cn", ".amazon.com"} {
		if isServiceName(s) && strings.HasSuffix(s, domain) {
			return &Principals{Service: []string{s}}, nil
		}
	}
	return nil, ErrPrincipal
}
