package iam

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"hearth/internal/awserr"
	"hearth/internal/policy"
)

// maxVersions is how many versions a managed policy can have.
const maxVersions = 5

var policyOperations = map[string]operation{
	"CreatePolicy":            {serve: createPolicy, resource: newPolicyARN},
	"GetPolicy":               {serve: getPolicy, resource: policyARN},
	"ListPolicies":            {serve: listPolicies},
	"DeletePolicy":            {serve: deletePolicy, resource: policyARN},
	"CreatePolicyVersion":     {serve: createPolicyVersion, resource: policyARN},
	"GetPolicyVersion":        {serve: getPolicyVersion, resource: policyARN},
	"ListPolicyVersions":      {serve: listPolicyVersions, resource: policyARN},
	"DeletePolicyVersion":     {serve: deletePolicyVersion, resource: policyARN},
	"SetDefaultPolicyVersion": {serve: setDefaultVersion, resource: policyARN},
	"ListEntitiesForPolicy":   {serve: listEntities, resource: policyARN},
	"TagPolicy":               {serve: tagPolicy, resource: policyARN},
	"UntagPolicy":             {serve: untagPolicy, resource: policyARN},
	"ListPolicyTags":          {serve: listPolicyTags, resource: policyARN},
}

func policyARN(_ *Service, c *call) string { return c.Get("PolicyArn") }

func newPolicyARN(_ *Service, c *call) string {
	path, err := c.path()
	if err != nil {
		path = "/"
	}
	return "arn:aws:iam::" + c.account() + ":policy" + path + c.Get("PolicyName")
}

// managed finds the policy that a call names, in the caller's account or of
// AWS's.
func (s *Service) managed(c *call) (*managed, error) {
	arn := c.Get("PolicyArn")
	m, ok := s.managedByARN(arn)
	if !ok || m.Account != awsAccount && m.Account != c.account() {
		return nil, noEntity("Policy %.200s was not found.", arn)
	}
	return m, nil
}

// changePolicy applies an edit to a private copy of the policy a call names.
func (s *Service) changePolicy(ctx context.Context, c *call, f func(m *managed) error) error {
	m, err := s.managed(c)
	if err != nil {
		return err
	}
	if m.Account == awsAccount {
		return awserr.New("AccessDenied", "Cannot change %s: it is one of AWS's managed policies.", m.arn())
	}
	_, err = s.policies.Change(ctx, key(m.Account, m.Name), func(now *managed) (*managed, error) {
		if now == nil {
			return nil, noEntity("Policy %.200s was not found.", c.Get("PolicyArn"))
		}
		next := now.clone()
		next.Updated = s.now()
		return next, f(next)
	})
	return err
}

type xmlPolicy struct {
	PolicyName                    string
	PolicyID                      string `xml:"PolicyId"`
	Arn                           string
	Path                          string
	DefaultVersionID              string `xml:"DefaultVersionId"`
	AttachmentCount               int
	PermissionsBoundaryUsageCount int
	IsAttachable                  bool
	Description                   string `xml:"Description,omitempty"`
	CreateDate                    string
	UpdateDate                    string
	Tags                          []xmlTag `xml:"Tags>member"`
}

func (s *Service) shownPolicy(m *managed) xmlPolicy {
	users, roles, bounds := s.usersOf(m)
	return xmlPolicy{
		PolicyName: m.Name, PolicyID: m.ID, Arn: m.arn(), Path: m.Path, DefaultVersionID: m.Default,
		AttachmentCount: len(users) + len(roles), PermissionsBoundaryUsageCount: bounds, IsAttachable: true,
		Description: m.Description, CreateDate: date(m.Created), UpdateDate: date(m.Updated), Tags: xmlTags(m.Tags),
	}
}

// usersOf finds who a managed policy is attached to, and how many it bounds.
func (s *Service) usersOf(m *managed) (users []*user, roles []*role, bounds int) {
	arn := m.arn()
	for _, u := range s.users.All() {
		if slices.Contains(u.Attached, arn) {
			users = append(users, u)
		}
		if u.Boundary == arn {
			bounds++
		}
	}
	for _, r := range s.roles.All() {
		if slices.Contains(r.Attached, arn) {
			roles = append(roles, r)
		}
		if r.Boundary == arn {
			bounds++
		}
	}
	return users, roles, bounds
}

type policyResult struct{ Policy xmlPolicy }

func createPolicy(ctx context.Context, s *Service, c *call) (any, error) {
	name, err := c.name("PolicyName", maxPolicyName)
	if err != nil {
		return nil, err
	}
	path, err := c.path()
	if err != nil {
		return nil, err
	}
	text, err := document(policy.KindIdentity, c.Get("PolicyDocument"), policy.QuotaManaged)
	if err != nil {
		return nil, err
	}
	now := s.now()
	m := &managed{
		Account: c.account(), Name: name, Path: path, ID: newID(policyPrefix, idLength), Description: c.Get("Description"),
		Created: now, Updated: now, Tags: c.tags(), Default: "v1", Last: 1,
		Versions: []policyVersion{{ID: "v1", Document: text, Created: now}},
	}
	if err := checkTags(m.Tags); err != nil {
		return nil, err
	}
	m, err = s.policies.Change(ctx, key(m.Account, name), func(now *managed) (*managed, error) {
		if now != nil {
			return nil, awserr.New("EntityAlreadyExists", "A policy called %s already exists. Duplicate names are not allowed.", name)
		}
		return m, nil
	})
	if err != nil {
		return nil, err
	}
	return &policyResult{s.shownPolicy(m)}, nil
}

func getPolicy(_ context.Context, s *Service, c *call) (any, error) {
	m, err := s.managed(c)
	if err != nil {
		return nil, err
	}
	return &policyResult{s.shownPolicy(m)}, nil
}

type policiesResult struct {
	Policies    []xmlPolicy `xml:"Policies>member"`
	IsTruncated bool
	Marker      string `xml:"Marker,omitempty"`
}

func listPolicies(_ context.Context, s *Service, c *call) (any, error) {
	after, limit, err := c.page()
	if err != nil {
		return nil, err
	}
	var all []*managed
	if scope := c.Get("Scope"); scope != "Local" {
		for _, arn := range slices.Sorted(maps.Keys(awsManaged)) {
			all = append(all, awsManaged[arn])
		}
	}
	if c.Get("Scope") != "AWS" {
		all = append(all, s.policies.List(c.account(), "", "", maxListed)...)
	}
	out := &policiesResult{}
	skip := after != ""
	for _, m := range all {
		if skip {
			skip = m.arn() != after
			continue
		}
		if !hasPath(m.Path, c) {
			continue
		}
		p := s.shownPolicy(m)
		if c.Get("OnlyAttached") == "true" && p.AttachmentCount == 0 {
			continue
		}
		if len(out.Policies) == limit {
			out.IsTruncated, out.Marker = true, out.Policies[limit-1].Arn
			break
		}
		out.Policies = append(out.Policies, p)
	}
	return out, nil
}

func deletePolicy(ctx context.Context, s *Service, c *call) (any, error) {
	m, err := s.managed(c)
	if err != nil {
		return nil, err
	}
	if m.Account == awsAccount {
		return nil, awserr.New("AccessDenied", "Cannot delete %s: it is one of AWS's managed policies.", m.arn())
	}
	users, roles, bounds := s.usersOf(m)
	if len(users)+len(roles)+bounds > 0 {
		return nil, awserr.New("DeleteConflict", "Cannot delete a policy attached to entities.")
	}
	_, err = s.policies.Change(ctx, key(m.Account, m.Name), func(now *managed) (*managed, error) {
		if now != nil && len(now.Versions) > 1 {
			return nil, awserr.New("DeleteConflict", "This policy has more than one version. Before you delete a policy, you must delete the policy's versions. "+
				"The default version is deleted with the policy.")
		}
		return nil, nil
	})
	return nil, err
}

type xmlVersion struct {
	Document         string `xml:"Document,omitempty"`
	VersionID        string `xml:"VersionId"`
	IsDefaultVersion bool
	CreateDate       string
}

type versionResult struct{ PolicyVersion xmlVersion }

func createPolicyVersion(ctx context.Context, s *Service, c *call) (any, error) {
	text, err := document(policy.KindIdentity, c.Get("PolicyDocument"), policy.QuotaManaged)
	if err != nil {
		return nil, err
	}
	var made xmlVersion
	err = s.changePolicy(ctx, c, func(m *managed) error {
		if len(m.Versions) >= maxVersions {
			return awserr.New("LimitExceeded", "A managed policy can have up to %d versions. Before you create a new version, you must delete an existing version.", maxVersions)
		}
		m.Last++
		v := policyVersion{ID: fmt.Sprintf("v%d", m.Last), Document: text, Created: s.now()}
		m.Versions = append(m.Versions, v)
		if c.Get("SetAsDefault") == "true" {
			m.Default = v.ID
		}
		made = xmlVersion{VersionID: v.ID, IsDefaultVersion: m.Default == v.ID, CreateDate: date(v.Created)}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &versionResult{made}, nil
}

func noVersion(m *managed, id string) error {
	return noEntity("Policy %s version %.20s does not exist or is not attachable.", m.arn(), id)
}

func getPolicyVersion(_ context.Context, s *Service, c *call) (any, error) {
	m, err := s.managed(c)
	if err != nil {
		return nil, err
	}
	v := m.version(c.Get("VersionId"))
	if v == nil {
		return nil, noVersion(m, c.Get("VersionId"))
	}
	return &versionResult{xmlVersion{shown(v.Document), v.ID, v.ID == m.Default, date(v.Created)}}, nil
}

type versionsResult struct {
	Versions    []xmlVersion `xml:"Versions>member"`
	IsTruncated bool
}

func listPolicyVersions(_ context.Context, s *Service, c *call) (any, error) {
	m, err := s.managed(c)
	if err != nil {
		return nil, err
	}
	out := &versionsResult{}
	for _, v := range slices.Backward(m.Versions) {
		out.Versions = append(out.Versions, xmlVersion{"", v.ID, v.ID == m.Default, date(v.Created)})
	}
	return out, nil
}

func deletePolicyVersion(ctx context.Context, s *Service, c *call) (any, error) {
	id := c.Get("VersionId")
	return nil, s.changePolicy(ctx, c, func(m *managed) error {
		switch {
		case m.version(id) == nil:
			return noVersion(m, id)
		case m.Default == id:
			return awserr.New("DeleteConflict", "Cannot delete the default version of a policy.")
		}
		m.Versions = slices.DeleteFunc(m.Versions, func(v policyVersion) bool { return v.ID == id })
		return nil
	})
}

func setDefaultVersion(ctx context.Context, s *Service, c *call) (any, error) {
	id := c.Get("VersionId")
	return nil, s.changePolicy(ctx, c, func(m *managed) error {
		if m.version(id) == nil {
			return noVersion(m, id)
		}
		m.Default = id
		return nil
	})
}

type xmlPolicyUser struct {
	UserName string
	UserID   string `xml:"UserId"`
}

type xmlPolicyRole struct {
	RoleName string
	RoleID   string `xml:"RoleId"`
}

type entitiesResult struct {
	PolicyUsers []xmlPolicyUser `xml:"PolicyUsers>member"`
	PolicyRoles []xmlPolicyRole `xml:"PolicyRoles>member"`
	IsTruncated bool
}

func listEntities(_ context.Context, s *Service, c *call) (any, error) {
	m, err := s.managed(c)
	if err != nil {
		return nil, err
	}
	out := &entitiesResult{}
	users, roles, _ := s.usersOf(m)
	for _, u := range users {
		if u.Account == c.account() {
			out.PolicyUsers = append(out.PolicyUsers, xmlPolicyUser{u.Name, u.ID})
		}
	}
	for _, r := range roles {
		if r.Account == c.account() {
			out.PolicyRoles = append(out.PolicyRoles, xmlPolicyRole{r.Name, r.ID})
		}
	}
	return out, nil
}

func tagPolicy(ctx context.Context, s *Service, c *call) (any, error) {
	return nil, s.changePolicy(ctx, c, func(m *managed) (err error) {
		m.Tags, err = tagged(m.Tags, c)
		return err
	})
}

func untagPolicy(ctx context.Context, s *Service, c *call) (any, error) {
	return nil, s.changePolicy(ctx, c, func(m *managed) error {
		for _, k := range c.List("TagKeys") {
			delete(m.Tags, k)
		}
		return nil
	})
}

func listPolicyTags(_ context.Context, s *Service, c *call) (any, error) {
	m, err := s.managed(c)
	if err != nil {
		return nil, err
	}
	return tagList(m.Tags), nil
}
