package iam

import (
	"context"
	"maps"
	"slices"
	"strings"

	"hearth/internal/awserr"
	"hearth/internal/awsquery"
	"hearth/internal/policy"
)

// What users and roles have in common: inline and attached policies,
// boundaries and tags. An edit works on a private copy of the entity.

// entityEdit changes one kind of entity that a call names.
type entityEdit func(ctx context.Context, s *Service, c *call, f func(e *entity) error) error

// entityLook finds one kind of entity that a call names.
type entityLook func(s *Service, c *call) (*entity, error)

// entityOps makes the operations of one kind of entity; kind is User or Role.
func entityOps(kind string, edit entityEdit, look entityLook, about func(*Service, *call) subject, quota int) map[string]operation {
	change := func(f func(s *Service, c *call, e *entity) error) operation {
		return operation{about: about, serve: func(ctx context.Context, s *Service, c *call) (any, error) {
			return nil, edit(ctx, s, c, func(e *entity) error { return f(s, c, e) })
		}}
	}
	read := func(f func(s *Service, c *call, e *entity) (any, error)) operation {
		return operation{about: about, serve: func(_ context.Context, s *Service, c *call) (any, error) {
			e, err := look(s, c)
			if err != nil {
				return nil, err
			}
			return f(s, c, e)
		}}
	}
	return map[string]operation{
		"Put" + kind + "Policy":    change(func(_ *Service, c *call, e *entity) error { return putInline(kind, c, e, quota) }),
		"Delete" + kind + "Policy": change(func(_ *Service, c *call, e *entity) error { return deleteInline(kind, c, e) }),
		"Get" + kind + "Policy": read(func(_ *Service, c *call, e *entity) (any, error) {
			return getInline(kind, c, e)
		}),
		"List" + kind + "Policies":              read(listInline),
		"Attach" + kind + "Policy":              change(func(s *Service, c *call, e *entity) error { return s.attach(kind, c, e) }),
		"Detach" + kind + "Policy":              change(detach),
		"ListAttached" + kind + "Policies":      read(listAttached),
		"Put" + kind + "PermissionsBoundary":    change((*Service).putBoundary),
		"Delete" + kind + "PermissionsBoundary": change(func(_ *Service, _ *call, e *entity) error { e.Boundary = ""; return nil }),
		"Tag" + kind:                            change(tag),
		"Untag" + kind:                          change(untag),
		"List" + kind + "Tags":                  read(func(_ *Service, c *call, e *entity) (any, error) { return tagList(c, e.Tags) }),
	}
}

func putInline(kind string, c *call, e *entity, quota int) error {
	name, err := c.name("PolicyName", maxPolicyName)
	if err != nil {
		return err
	}
	text, err := document(policy.KindIdentity, c.Get("PolicyDocument"), policy.MaxSize)
	if err != nil {
		return err
	}
	if e.Inline == nil {
		e.Inline = make(map[string]string)
	}
	e.Inline[name] = text
	total := 0
	for _, stored := range e.Inline {
		d, err := policy.Parse(policy.KindIdentity, "", []byte(stored))
		if err != nil {
			return err
		}
		total += d.Size()
	}
	if total > quota {
		return awserr.New("LimitExceeded", "Maximum policy size of %d bytes exceeded for %s %s", quota, strings.ToLower(kind), e.Name)
	}
	return nil
}

func deleteInline(kind string, c *call, e *entity) error {
	name := c.Get("PolicyName")
	if _, ok := e.Inline[name]; !ok {
		return noInline(kind, name)
	}
	delete(e.Inline, name)
	return nil
}

func noInline(kind, name string) error {
	return noEntity("The %s policy with name %.128s cannot be found.", strings.ToLower(kind), name)
}

type inlineResult struct {
	UserName       string `xml:"UserName,omitempty"`
	RoleName       string `xml:"RoleName,omitempty"`
	PolicyName     string
	PolicyDocument string
}

func getInline(kind string, c *call, e *entity) (any, error) {
	name := c.Get("PolicyName")
	document, ok := e.Inline[name]
	if !ok {
		return nil, noInline(kind, name)
	}
	r := &inlineResult{PolicyName: name, PolicyDocument: shown(document)}
	if kind == "Role" {
		r.RoleName = e.Name
	} else {
		r.UserName = e.Name
	}
	return r, nil
}

type namesResult struct {
	PolicyNames awsquery.List[string]
	paging
}

func listInline(_ *Service, c *call, e *entity) (any, error) {
	names, end, err := cut(c, slices.Sorted(maps.Keys(e.Inline)))
	return &namesResult{names, end}, err
}

// maxAttached is AWS's default quota of managed policies on a user or role.
const maxAttached = 10

func (s *Service) attach(kind string, c *call, e *entity) error {
	arn := c.Get("PolicyArn")
	if _, ok := s.managedByARN(arn); !ok || !ownOrAWS(arn, e.Account) {
		return noManaged(arn)
	}
	if slices.Contains(e.Attached, arn) {
		return nil
	}
	if len(e.Attached) >= maxAttached {
		return awserr.New("LimitExceeded", "Cannot exceed quota for PoliciesPer%s: %d", kind, maxAttached)
	}
	e.Attached = append(e.Attached, arn)
	return nil
}

// ownOrAWS says whether a managed policy can be used in an account.
func ownOrAWS(arn, account string) bool {
	if _, ok := awsManaged[arn]; ok {
		return true
	}
	owner, _, _, ok := parseARN(arn)
	return ok && owner == account
}

func noManaged(arn string) error {
	return noEntity("Policy %.200s does not exist or is not attachable.", arn)
}

func detach(_ *Service, c *call, e *entity) error {
	arn := c.Get("PolicyArn")
	if !slices.Contains(e.Attached, arn) {
		return noEntity("Policy %.200s was not found.", arn)
	}
	e.Attached = slices.DeleteFunc(e.Attached, func(a string) bool { return a == arn })
	return nil
}

type attachedPolicy struct{ PolicyName, PolicyArn string }

type attachedResult struct {
	AttachedPolicies awsquery.List[attachedPolicy]
	paging
}

func listAttached(s *Service, c *call, e *entity) (any, error) {
	var all []attachedPolicy
	for _, arn := range e.Attached {
		if m, ok := s.managedByARN(arn); ok && hasPath(m.Path, c) {
			all = append(all, attachedPolicy{m.Name, arn})
		}
	}
	page, end, err := cut(c, all)
	return &attachedResult{page, end}, err
}

func (s *Service) putBoundary(c *call, e *entity) error {
	arn := c.Get("PermissionsBoundary")
	if arn == "" {
		return missing("PermissionsBoundary")
	}
	return s.setBoundary(e, arn)
}

// setBoundary checks that a permissions boundary exists.
func (s *Service) setBoundary(e *entity, arn string) error {
	if arn == "" {
		return nil
	}
	if _, ok := s.managedByARN(arn); !ok || !ownOrAWS(arn, e.Account) {
		return noEntity("Scope ARN: %.200s does not exist or is not attachable.", arn)
	}
	e.Boundary = arn
	return nil
}

type boundary struct {
	PermissionsBoundaryType string
	PermissionsBoundaryArn  string
}

func shownBoundary(arn string) *boundary {
	if arn == "" {
		return nil
	}
	return &boundary{"Policy", arn}
}

type xmlTag struct{ Key, Value string }

type tagsResult struct {
	Tags awsquery.List[xmlTag]
	paging
}

func tagList(c *call, tags map[string]string) (any, error) {
	page, end, err := cut(c, xmlTags(tags))
	return &tagsResult{page, end}, err
}

func xmlTags(tags map[string]string) awsquery.List[xmlTag] {
	var list awsquery.List[xmlTag]
	for _, k := range slices.Sorted(maps.Keys(tags)) {
		list = append(list, xmlTag{k, tags[k]})
	}
	return list
}

func tag(_ *Service, c *call, e *entity) error {
	next, err := tagged(e.Tags, c)
	if err == nil {
		e.Tags = next
	}
	return err
}

// tagged adds a call's tags to those there are. Keys that differ in case only
// are one key.
func tagged(now map[string]string, c *call) (map[string]string, error) {
	next := maps.Clone(now)
	if next == nil {
		next = make(map[string]string)
	}
	for k, v := range c.tags() {
		maps.DeleteFunc(next, func(old, _ string) bool { return strings.EqualFold(old, k) })
		next[k] = v
	}
	return next, checkTags(next)
}

func untag(_ *Service, c *call, e *entity) error {
	untagged(e.Tags, c)
	return nil
}

func untagged(tags map[string]string, c *call) {
	for _, k := range c.List("TagKeys") {
		maps.DeleteFunc(tags, func(old, _ string) bool { return strings.EqualFold(old, k) })
	}
}
