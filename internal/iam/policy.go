package iam

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"

	"hearth/internal/awserr"
	"hearth/internal/awsid"
	"hearth/internal/awsquery"
	"hearth/internal/policy"
	"hearth/internal/table"
)

// maxVersions is how many versions a managed policy can have.
const maxVersions = 5

var policyOperations = map[string]operation{
	"CreatePolicy":            {serve: createPolicy, about: aboutNewPolicy},
	"GetPolicy":               {serve: getPolicy, about: aboutPolicy},
	"ListPolicies":            {serve: listPolicies, about: aboutPolicies},
	"DeletePolicy":            {serve: deletePolicy, about: aboutPolicy},
	"CreatePolicyVersion":     {serve: createPolicyVersion, about: aboutPolicy},
	"GetPolicyVersion":        {serve: getPolicyVersion, about: aboutPolicy},
	"ListPolicyVersions":      {serve: listPolicyVersions, about: aboutPolicy},
	"DeletePolicyVersion":     {serve: deletePolicyVersion, about: aboutPolicy},
	"SetDefaultPolicyVersion": {serve: setDefaultVersion, about: aboutPolicy},
	"ListEntitiesForPolicy":   {serve: listEntities, about: aboutPolicy},
	"TagPolicy":               {serve: tagPolicy, about: aboutPolicy},
	"UntagPolicy":             {serve: untagPolicy, about: aboutPolicy},
	"ListPolicyTags":          {serve: listPolicyTags, about: aboutPolicy},
}

func aboutPolicy(s *Service, c *call) subject {
	about := subject{arn: c.Get("PolicyArn")}
	if m, err := s.managed(c); err == nil {
		about.tags = m.Tags
	}
	return about
}

func aboutNewPolicy(_ *Service, c *call) subject { return aboutNew(c, "policy", c.Get("PolicyName")) }

func aboutPolicies(_ *Service, c *call) subject { return aboutNew(c, "policy", "") }

// managed finds the policy that a call names, in the caller's account or of
// AWS's.
func (s *Service) managed(c *call) (*managed, error) {
	arn := c.Get("PolicyArn")
	if arn == "" {
		return nil, missing("PolicyArn")
	}
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
	_, err = s.policies.Change(ctx, entityKey(m.Account, m.Name), func(now *managed) (*managed, error) {
		if now == nil || now.arn() != m.arn() {
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
	Tags                          awsquery.List[xmlTag] `xml:",omitempty"`
}

func shownPolicy(m *managed, n holders) xmlPolicy {
	return xmlPolicy{
		PolicyName: m.Name, PolicyID: m.ID, Arn: m.arn(), Path: m.Path, DefaultVersionID: m.Default,
		AttachmentCount: n.attached, PermissionsBoundaryUsageCount: n.bounded, IsAttachable: true,
		Description: m.Description, CreateDate: date(m.Created), UpdateDate: date(m.Updated), Tags: xmlTags(m.Tags),
	}
}

// holders counts the users and roles of an account that a managed policy is
// attached to, and those that it bounds.
type holders struct{ attached, bounded int }

// countHolders counts for every managed policy, by its ARN.
func (s *Service) countHolders(account string) map[string]holders {
	counts := make(map[string]holders)
	count := func(e *entity) {
		for _, arn := range e.Attached {
			n := counts[arn]
			n.attached++
			counts[arn] = n
		}
		if e.Boundary != "" {
			n := counts[e.Boundary]
			n.bounded++
			counts[e.Boundary] = n
		}
	}
	for _, u := range s.users.List(account, "", "", everything) {
		count(&u.entity)
	}
	for _, r := range s.roles.List(account, "", "", everything) {
		count(&r.entity)
	}
	return counts
}

// everything is no limit.
const everything = math.MaxInt

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
		Account: c.account(), Name: name, Path: path, ID: awsid.Unique(policyPrefix), Description: c.Get("Description"),
		Created: now, Updated: now, Tags: c.tags(), Default: "v1", Last: 1,
		Versions: []policyVersion{{ID: "v1", Document: text, Created: now}},
	}
	if err := checkTags(m.Tags); err != nil {
		return nil, err
	}
	if len(m.Description) > maxDescription {
		return nil, tooLong("Description", maxDescription)
	}
	m, err = s.policies.Change(ctx, entityKey(m.Account, name), func(now *managed) (*managed, error) {
		if now != nil {
			return nil, awserr.New("EntityAlreadyExists", "A policy called %s already exists. Duplicate names are not allowed.", name)
		}
		return m, nil
	})
	if err != nil {
		return nil, err
	}
	return &policyResult{shownPolicy(m, holders{})}, nil
}

func getPolicy(_ context.Context, s *Service, c *call) (any, error) {
	m, err := s.managed(c)
	if err != nil {
		return nil, err
	}
	return &policyResult{shownPolicy(m, s.countHolders(c.account())[m.arn()])}, nil
}

type policiesResult struct {
	Policies awsquery.List[xmlPolicy]
	paging
}

func listPolicies(_ context.Context, s *Service, c *call) (any, error) {
	var all []*managed
	if c.Get("Scope") != "Local" {
		for _, arn := range slices.Sorted(maps.Keys(awsManaged)) {
			all = append(all, awsManaged[arn])
		}
	}
	if c.Get("Scope") != "AWS" {
		all = append(all, s.policies.List(c.account(), "", "", everything)...)
	}
	counts := s.countHolders(c.account())
	wanted := func(m *managed) bool {
		n := counts[m.arn()]
		switch {
		case !hasPath(m.Path, c):
			return false
		case c.Get("PolicyUsageFilter") == "PermissionsBoundary":
			return n.bounded > 0
		case c.Get("PolicyUsageFilter") == "PermissionsPolicy", c.Get("OnlyAttached") == "true":
			return n.attached > 0
		}
		return true
	}
	page, end, err := cut(c, slices.DeleteFunc(all, func(m *managed) bool { return !wanted(m) }))
	out := &policiesResult{paging: end}
	for _, m := range page {
		shown := shownPolicy(m, counts[m.arn()])
		shown.Tags, shown.Description = nil, "" // AWS leaves them out of lists
		out.Policies = append(out.Policies, shown)
	}
	return out, err
}

func deletePolicy(ctx context.Context, s *Service, c *call) (any, error) {
	m, err := s.managed(c)
	if err != nil {
		return nil, err
	}
	if m.Account == awsAccount {
		return nil, awserr.New("AccessDenied", "Cannot delete %s: it is one of AWS's managed policies.", m.arn())
	}
	_, err = s.policies.ChangeWith(ctx, entityKey(m.Account, m.Name), func(now *managed) (*managed, []table.Op, error) {
		switch {
		case now == nil || now.arn() != m.arn():
			return nil, nil, noEntity("Policy %.200s was not found.", m.arn())
		case len(now.Versions) > 1:
			return nil, nil, awserr.New("DeleteConflict", "This policy has more than one version. "+
				"Before you delete a policy, you must delete the policy's versions. "+
				"The default version is deleted with the policy.")
		}
		return nil, []table.Op{s.uses.None(m.Account, usePrefix(m.Name))}, nil
	})
	if errors.Is(err, table.ErrConflict) {
		return nil, awserr.New("DeleteConflict", "Cannot delete a policy attached to entities.")
	}
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
			return awserr.New("LimitExceeded", "A managed policy can have up to %d versions. "+
				"Before you create a new version, you must delete an existing version.", maxVersions)
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
	Versions awsquery.List[xmlVersion]
	paging
}

func listPolicyVersions(_ context.Context, s *Service, c *call) (any, error) {
	m, err := s.managed(c)
	if err != nil {
		return nil, err
	}
	newest := slices.Clone(m.Versions)
	slices.Reverse(newest)
	page, end, err := cut(c, newest)
	out := &versionsResult{paging: end}
	for _, v := range page {
		out.Versions = append(out.Versions, xmlVersion{"", v.ID, v.ID == m.Default, date(v.Created)})
	}
	return out, err
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
	PolicyGroups awsquery.List[string]
	PolicyUsers  awsquery.List[xmlPolicyUser]
	PolicyRoles  awsquery.List[xmlPolicyRole]
	paging
}

// listEntities lists users and roles in one sequence, users first.
func listEntities(_ context.Context, s *Service, c *call) (any, error) {
	m, err := s.managed(c)
	if err != nil {
		return nil, err
	}
	arn, filter, usage := m.arn(), c.Get("EntityFilter"), c.Get("PolicyUsageFilter")
	holds := func(kind string, e *entity) bool {
		return (filter == "" || filter == kind) && hasPath(e.Path, c) &&
			(usage != "PermissionsBoundary" && slices.Contains(e.Attached, arn) || usage != "PermissionsPolicy" && e.Boundary == arn)
	}
	var all []any
	for _, u := range s.users.List(c.account(), "", "", everything) {
		if holds("User", &u.entity) {
			all = append(all, xmlPolicyUser{u.Name, u.ID})
		}
	}
	for _, r := range s.roles.List(c.account(), "", "", everything) {
		if holds("Role", &r.entity) {
			all = append(all, xmlPolicyRole{r.Name, r.ID})
		}
	}
	page, end, err := cut(c, all)
	out := &entitiesResult{paging: end}
	for _, e := range page {
		switch e := e.(type) {
		case xmlPolicyUser:
			out.PolicyUsers = append(out.PolicyUsers, e)
		case xmlPolicyRole:
			out.PolicyRoles = append(out.PolicyRoles, e)
		}
	}
	return out, err
}

func tagPolicy(ctx context.Context, s *Service, c *call) (any, error) {
	return nil, s.changePolicy(ctx, c, func(m *managed) (err error) {
		m.Tags, err = tagged(m.Tags, c)
		return err
	})
}

func untagPolicy(ctx context.Context, s *Service, c *call) (any, error) {
	return nil, s.changePolicy(ctx, c, func(m *managed) error {
		untagged(m.Tags, c)
		return nil
	})
}

func listPolicyTags(_ context.Context, s *Service, c *call) (any, error) {
	m, err := s.managed(c)
	if err != nil {
		return nil, err
	}
	return tagList(c, m.Tags)
}
