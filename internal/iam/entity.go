package iam

import (
	"context"
	"maps"
	"slices"

	"hearth/internal/awserr"
	"hearth/internal/policy"
)

// What users and roles have in common: inline and attached policies,
// boundaries and tags. An edit works on a private copy of the entity.

// entityEdit changes one kind of entity that a call names.
type entityEdit func(ctx context.Context, s *Service, c *call, f func(e *entity) error) error

// entityLook finds one kind of entity that a call names.
type entityLook func(s *Service, c *call) (*entity, error)

// entityOps makes the operations of one kind of entity; kind is User or Role.
func entityOps(kind string, edit entityEdit, look entityLook, resource func(*Service, *call) string, quota int) map[string]operation {
	change := func(f func(s *Service, c *call, e *entity) error) operation {
		return operation{resource: resource, serve: func(ctx context.Context, s *Service, c *call) (any, error) {
			return nil, edit(ctx, s, c, func(e *entity) error { return f(s, c, e) })
		}}
	}
	read := func(f func(s *Service, c *call, e *entity) (any, error)) operation {
		return operation{resource: resource, serve: func(_ context.Context, s *Service, c *call) (any, error) {
			e, err := look(s, c)
			if err != nil {
				return nil, err
			}
			return f(s, c, e)
		}}
	}
	return map[string]operation{
		"Put" + kind + "Policy":    change(func(_ *Service, c *call, e *entity) error { return putInline(c, e, quota) }),
		"Delete" + kind + "Policy": change(deleteInline),
		"Get" + kind + "Policy": read(func(_ *Service, c *call, e *entity) (any, error) {
			return getInline(kind, c, e)
		}),
		"List" + kind + "Policies":              read(listInline),
		"Attach" + kind + "Policy":              change((*Service).attach),
		"Detach" + kind + "Policy":              change(detach),
		"ListAttached" + kind + "Policies":      read(listAttached),
		"Put" + kind + "PermissionsBoundary":    change((*Service).putBoundary),
		"Delete" + kind + "PermissionsBoundary": change(func(_ *Service, _ *call, e *entity) error { e.Boundary = ""; return nil }),
		"Tag" + kind:                            change(tag),
		"Untag" + kind:                          change(untag),
		"List" + kind + "Tags":                  read(func(_ *Service, _ *call, e *entity) (any, error) { return tagList(e.Tags), nil }),
	}
}

func putInline(c *call, e *entity, quota int) error {
	name, err := c.name("PolicyName", maxPolicyName)
	if err != nil {
		return err
	}
	text, err := document(policy.KindIdentity, c.Get("PolicyDocument"), quota)
	if err != nil {
		return err
	}
	if e.Inline == nil {
		e.Inline = make(map[string]string)
	}
	e.Inline[name] = text
	total := 0
	for _, d := range e.Inline {
		total += len(d)
	}
	if total > 2*quota { // white space does not count, so this is generous
		return awserr.New("LimitExceeded", "Maximum policy size of %d bytes exceeded for %s", quota, e.Name)
	}
	return nil
}

func deleteInline(_ *Service, c *call, e *entity) error {
	name := c.Get("PolicyName")
	if _, ok := e.Inline[name]; !ok {
		return noPolicy(c, e)
	}
	delete(e.Inline, name)
	return nil
}

func noPolicy(c *call, e *entity) error {
	kind := "user"
	if c.Get("RoleName") != "" {
		kind = "role"
	}
	return noEntity("The %s policy with name %.128s cannot be found. (%s %s)", kind, c.Get("PolicyName"), kind, e.Name)
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
		return nil, noPolicy(c, e)
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
	PolicyNames []string `xml:"PolicyNames>member"`
	IsTruncated bool
}

func listInline(_ *Service, _ *call, e *entity) (any, error) {
	return &namesResult{PolicyNames: slices.Sorted(maps.Keys(e.Inline))}, nil
}

// maxAttached is AWS's default quota of managed policies on a user or role.
const maxAttached = 10

func (s *Service) attach(c *call, e *entity) error {
	arn := c.Get("PolicyArn")
	if _, ok := s.managedByARN(arn); !ok || !ownOrAWS(arn, e.Account) {
		return noManaged(arn)
	}
	if slices.Contains(e.Attached, arn) {
		return nil
	}
	if len(e.Attached) >= maxAttached {
		return awserr.New("LimitExceeded", "Cannot exceed quota for PoliciesPerRole: %d", maxAttached)
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
	AttachedPolicies []attachedPolicy `xml:"AttachedPolicies>member"`
	IsTruncated      bool
}

func listAttached(s *Service, _ *call, e *entity) (any, error) {
	r := &attachedResult{}
	for _, arn := range e.Attached {
		if m, ok := s.managedByARN(arn); ok {
			r.AttachedPolicies = append(r.AttachedPolicies, attachedPolicy{m.Name, arn})
		}
	}
	return r, nil
}

func (s *Service) putBoundary(c *call, e *entity) error {
	return s.setBoundary(e, c.Get("PermissionsBoundary"))
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
	Tags        []xmlTag `xml:"Tags>member"`
	IsTruncated bool
}

func tagList(tags map[string]string) *tagsResult { return &tagsResult{Tags: xmlTags(tags)} }

func xmlTags(tags map[string]string) []xmlTag {
	var list []xmlTag
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

// tagged adds a call's tags to those there are.
func tagged(now map[string]string, c *call) (map[string]string, error) {
	next := maps.Clone(now)
	if next == nil {
		next = make(map[string]string)
	}
	maps.Copy(next, c.tags())
	return next, checkTags(next)
}

func untag(_ *Service, c *call, e *entity) error {
	for _, k := range c.List("TagKeys") {
		delete(e.Tags, k)
	}
	return nil
}
