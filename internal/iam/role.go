package iam

import (
	"context"
	"strconv"

	"hearth/internal/awserr"
	"hearth/internal/awsid"
	"hearth/internal/awsquery"
	"hearth/internal/policy"
	"hearth/internal/table"
)

const (
	minSession     = 3600
	maxSession     = 12 * 3600
	defaultSession = 3600
)

var roleOperations = merge(
	map[string]operation{
		"CreateRole":             {serve: createRole, about: aboutNewRole},
		"GetRole":                {serve: getRole, about: aboutRole},
		"ListRoles":              {serve: listRoles, about: aboutRoles},
		"UpdateRole":             {serve: updateRole, about: aboutRole},
		"UpdateRoleDescription":  {serve: updateRole, about: aboutRole},
		"UpdateAssumeRolePolicy": {serve: updateTrust, about: aboutRole},
		"DeleteRole":             {serve: deleteRole, about: aboutRole},
	},
	entityOps("Role", editRole, lookRole, aboutRole, policy.QuotaInlineRole),
)

func aboutRole(s *Service, c *call) subject {
	if r, ok := s.roleNamed(c.account(), c.Get("RoleName")); ok {
		return subject{arn: r.arn(), tags: r.Tags, boundary: r.Boundary}
	}
	return subject{arn: "arn:aws:iam::" + c.account() + ":role/" + c.Get("RoleName")}
}

func aboutNewRole(_ *Service, c *call) subject { return aboutNew(c, "role", c.Get("RoleName")) }

func aboutRoles(_ *Service, c *call) subject { return aboutNew(c, "role", "") }

func noRole(name string) error { return noEntity("The role with name %.128s cannot be found.", name) }

func (s *Service) roleNamed(account, name string) (*role, bool) {
	r, ok := s.roles.Lookup(entityKey(account, name))
	return r, ok && r.Name == name
}

func (s *Service) role(c *call) (*role, error) {
	name := c.Get("RoleName")
	if name == "" {
		return nil, missing("RoleName")
	}
	if r, ok := s.roleNamed(c.account(), name); ok {
		return r, nil
	}
	return nil, noRole(name)
}

func lookRole(s *Service, c *call) (*entity, error) {
	r, err := s.role(c)
	if err != nil {
		return nil, err
	}
	return &r.entity, nil
}

// changeRole applies an edit to a private copy of the role that a call names.
func (s *Service) changeRole(ctx context.Context, c *call, f func(r *role) error) (*role, error) {
	name := c.Get("RoleName")
	if name == "" {
		return nil, missing("RoleName")
	}
	r, err := s.roles.ChangeWith(ctx, entityKey(c.account(), name), func(now *role) (*role, []table.Op, error) {
		if now == nil || now.Name != name {
			return nil, nil, noRole(name)
		}
		next := now.clone()
		if err := f(next); err != nil {
			return nil, nil, err
		}
		return next, s.useOps("role", &now.entity, &next.entity), nil
	})
	return r, conflicted(err)
}

func editRole(ctx context.Context, s *Service, c *call, f func(e *entity) error) error {
	_, err := s.changeRole(ctx, c, func(r *role) error { return f(&r.entity) })
	return err
}

type xmlRole struct {
	Path                     string
	RoleName                 string
	RoleID                   string `xml:"RoleId"`
	Arn                      string
	CreateDate               string
	AssumeRolePolicyDocument string
	Description              string `xml:"Description,omitempty"`
	MaxSessionDuration       int
	PermissionsBoundary      *boundary
	Tags                     awsquery.List[xmlTag] `xml:",omitempty"`
	RoleLastUsed             *struct{}             `xml:",omitempty"`
}

func (s *Service) shownRole(r *role) xmlRole {
	return xmlRole{
		Path: r.Path, RoleName: r.Name, RoleID: r.ID, Arn: r.arn(), CreateDate: date(r.Created),
		AssumeRolePolicyDocument: shown(s.shownTrust(r)), Description: r.Description, MaxSessionDuration: r.MaxSession,
		PermissionsBoundary: shownBoundary(r.Boundary), Tags: xmlTags(r.Tags), RoleLastUsed: &struct{}{},
	}
}

type roleResult struct{ Role xmlRole }

func createRole(ctx context.Context, s *Service, c *call) (any, error) {
	name, err := c.name("RoleName", maxUserName)
	if err != nil {
		return nil, err
	}
	path, err := c.path()
	if err != nil {
		return nil, err
	}
	trust, pins, err := s.trustDocument(c, "AssumeRolePolicyDocument")
	if err != nil {
		return nil, err
	}
	life, err := readMaxSession(c, defaultSession)
	if err != nil {
		return nil, err
	}
	r := &role{
		entity: entity{Account: c.account(), Name: name, Path: path, ID: awsid.Unique(rolePrefix), Created: s.now(), Tags: c.tags()},
		Trust:  trust, Pins: pins, MaxSession: life, Description: c.Get("Description"),
	}
	if err := checkTags(r.Tags); err != nil {
		return nil, err
	}
	if len(r.Description) > maxDescription {
		return nil, tooLong("Description", maxDescription)
	}
	if err := s.setBoundary(&r.entity, c.Get("PermissionsBoundary")); err != nil {
		return nil, err
	}
	if r, err = s.addRole(ctx, r); err != nil {
		return nil, err
	}
	return &roleResult{s.shownRole(r)}, nil
}

func (s *Service) addRole(ctx context.Context, r *role) (*role, error) {
	r, err := s.roles.ChangeWith(ctx, entityKey(r.Account, r.Name), func(now *role) (*role, []table.Op, error) {
		if now != nil {
			return nil, nil, awserr.New("EntityAlreadyExists", "Role with name %s already exists.", r.Name)
		}
		return r, s.useOps("role", nil, &r.entity), nil
	})
	return r, conflicted(err)
}

func readMaxSession(c *call, fallback int) (int, error) {
	v := c.Get("MaxSessionDuration")
	if v == "" {
		return fallback, nil
	}
	n, err := strconv.Atoi(v)
	if err != nil || n < minSession || n > maxSession {
		return 0, invalid("1 validation error detected: Value '%.20s' at 'maxSessionDuration' failed to satisfy constraint: "+
			"Member must have value between %d and %d", v, minSession, maxSession)
	}
	return n, nil
}

func getRole(_ context.Context, s *Service, c *call) (any, error) {
	r, err := s.role(c)
	if err != nil {
		return nil, err
	}
	return &roleResult{s.shownRole(r)}, nil
}

type rolesResult struct {
	Roles awsquery.List[xmlRole]
	paging
}

func listRoles(_ context.Context, s *Service, c *call) (any, error) {
	page, end, err := collect(c,
		func(after string, limit int) []*role { return s.roles.List(c.account(), "", after, limit) },
		func(r *role) string { return entityKey("", r.Name).Name },
		func(r *role) bool { return hasPath(r.Path, c) })
	out := &rolesResult{paging: end}
	for _, r := range page {
		shown := s.shownRole(r)
		shown.Tags, shown.PermissionsBoundary, shown.RoleLastUsed = nil, nil, nil // AWS leaves them out of lists
		out.Roles = append(out.Roles, shown)
	}
	return out, err
}

func updateRole(ctx context.Context, s *Service, c *call) (any, error) {
	if len(c.Get("Description")) > maxDescription {
		return nil, tooLong("Description", maxDescription)
	}
	r, err := s.changeRole(ctx, c, func(r *role) (err error) {
		if c.Has("Description") {
			r.Description = c.Get("Description")
		}
		r.MaxSession, err = readMaxSession(c, r.MaxSession)
		return err
	})
	if err != nil || c.Get("Action") == "UpdateRole" {
		return &struct{}{}, err
	}
	return &roleResult{s.shownRole(r)}, nil
}

func updateTrust(ctx context.Context, s *Service, c *call) (any, error) {
	trust, pins, err := s.trustDocument(c, "PolicyDocument")
	if err != nil {
		return nil, err
	}
	_, err = s.changeRole(ctx, c, func(r *role) error {
		r.Trust, r.Pins = trust, pins
		return nil
	})
	return nil, err
}

func deleteRole(ctx context.Context, s *Service, c *call) (any, error) {
	name := c.Get("RoleName")
	if name == "" {
		return nil, missing("RoleName")
	}
	_, err := s.roles.ChangeWith(ctx, entityKey(c.account(), name), func(now *role) (*role, []table.Op, error) {
		if now == nil || now.Name != name {
			return nil, nil, noRole(name)
		}
		return nil, s.useOps("role", &now.entity, nil), deletable(&now.entity)
	})
	return nil, conflicted(err)
}

// DefaultRole is the name of the role that a new account has, for functions
// that need nothing but their logs.
const DefaultRole = "hearth-function"

const lambdaTrust = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"lambda.amazonaws.com"},"Action":"sts:AssumeRole"}]}`

// makeDefaultRole makes an account's default role, once: an operator who
// deletes it is not contradicted at the next start.
func (s *Service) makeDefaultRole(ctx context.Context, accountID string) error {
	made := key(accountID, defaultRoleMark)
	if _, ok := s.marks.Lookup(made); ok {
		return nil
	}
	r := &role{
		entity: entity{
			Account: accountID, Name: DefaultRole, Path: "/", ID: awsid.Unique(rolePrefix), Created: s.now(),
			Attached: []string{"arn:aws:iam::aws:policy/service-role/AWSLambdaBasicExecutionRole"},
		},
		Trust: lambdaTrust, MaxSession: defaultSession, Description: "For functions that need nothing but their logs.",
	}
	if _, err := s.addRole(ctx, r); err != nil {
		if e, ok := awserr.As(err); !ok || e.Code != "EntityAlreadyExists" {
			return err
		}
	}
	_, err := s.marks.Change(ctx, made, func(*mark) (*mark, error) { return &mark{Made: s.now()}, nil })
	return err
}
