package iam

import (
	"context"
	"strconv"

	"hearth/internal/awserr"
	"hearth/internal/policy"
)

const (
	minSession     = 3600
	maxSession     = 12 * 3600
	defaultSession = 3600
)

var roleOperations = merge(
	map[string]operation{
		"CreateRole":                  {serve: createRole, resource: newRoleARN},
		"GetRole":                     {serve: getRole, resource: roleARN},
		"ListRoles":                   {serve: listRoles},
		"UpdateRole":                  {serve: updateRole, resource: roleARN},
		"UpdateRoleDescription":       {serve: updateRole, resource: roleARN},
		"UpdateAssumeRolePolicy":      {serve: updateTrust, resource: roleARN},
		"DeleteRole":                  {serve: deleteRole, resource: roleARN},
		"ListInstanceProfilesForRole": {serve: listNothing, resource: roleARN},
	},
	entityOps("Role", editRole, lookRole, roleARN, policy.QuotaInlineRole),
)

func roleARN(s *Service, c *call) string {
	if r, ok := s.roles.Lookup(key(c.account(), c.Get("RoleName"))); ok {
		return r.arn()
	}
	return "arn:aws:iam::" + c.account() + ":role/" + c.Get("RoleName")
}

func newRoleARN(_ *Service, c *call) string {
	path, err := c.path()
	if err != nil {
		path = "/"
	}
	return "arn:aws:iam::" + c.account() + ":role" + path + c.Get("RoleName")
}

func noRole(name string) error { return noEntity("The role with name %.128s cannot be found.", name) }

func (s *Service) role(c *call) (*role, error) {
	if r, ok := s.roles.Lookup(key(c.account(), c.Get("RoleName"))); ok {
		return r, nil
	}
	return nil, noRole(c.Get("RoleName"))
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
	return s.roles.Change(ctx, key(c.account(), name), func(now *role) (*role, error) {
		if now == nil {
			return nil, noRole(name)
		}
		next := now.clone()
		return next, f(next)
	})
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
	Tags                     []xmlTag `xml:"Tags>member"`
	RoleLastUsed             struct{}
}

func shownRole(r *role) xmlRole {
	return xmlRole{
		Path: r.Path, RoleName: r.Name, RoleID: r.ID, Arn: r.arn(), CreateDate: date(r.Created),
		AssumeRolePolicyDocument: shown(r.Trust), Description: r.Description, MaxSessionDuration: r.MaxSession,
		PermissionsBoundary: shownBoundary(r.Boundary), Tags: xmlTags(r.Tags),
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
	trust, err := document(policy.KindTrust, c.Get("AssumeRolePolicyDocument"), policy.QuotaTrust)
	if err != nil {
		return nil, err
	}
	life, err := readMaxSession(c, defaultSession)
	if err != nil {
		return nil, err
	}
	r := &role{
		entity: entity{Account: c.account(), Name: name, Path: path, ID: newID(rolePrefix, idLength), Created: s.now(), Tags: c.tags()},
		Trust:  trust, MaxSession: life, Description: c.Get("Description"),
	}
	if err := checkTags(r.Tags); err != nil {
		return nil, err
	}
	if err := s.setBoundary(&r.entity, c.Get("PermissionsBoundary")); err != nil {
		return nil, err
	}
	if r, err = s.addRole(ctx, r); err != nil {
		return nil, err
	}
	return &roleResult{shownRole(r)}, nil
}

func (s *Service) addRole(ctx context.Context, r *role) (*role, error) {
	return s.roles.Change(ctx, key(r.Account, r.Name), func(now *role) (*role, error) {
		if now != nil {
			return nil, awserr.New("EntityAlreadyExists", "Role with name %s already exists.", r.Name)
		}
		return r, nil
	})
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
	return &roleResult{shownRole(r)}, nil
}

type rolesResult struct {
	Roles       []xmlRole `xml:"Roles>member"`
	IsTruncated bool
	Marker      string `xml:"Marker,omitempty"`
}

func listRoles(_ context.Context, s *Service, c *call) (any, error) {
	after, limit, err := c.page()
	if err != nil {
		return nil, err
	}
	out := &rolesResult{}
	for _, r := range s.roles.List(c.account(), "", after, maxListed) {
		if !hasPath(r.Path, c) {
			continue
		}
		if len(out.Roles) == limit {
			out.IsTruncated, out.Marker = true, out.Roles[limit-1].RoleName
			break
		}
		out.Roles = append(out.Roles, shownRole(r))
	}
	return out, nil
}

func updateRole(ctx context.Context, s *Service, c *call) (any, error) {
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
	return &roleResult{shownRole(r)}, nil
}

func updateTrust(ctx context.Context, s *Service, c *call) (any, error) {
	trust, err := document(policy.KindTrust, c.Get("PolicyDocument"), policy.QuotaTrust)
	if err != nil {
		return nil, err
	}
	_, err = s.changeRole(ctx, c, func(r *role) error {
		r.Trust = trust
		return nil
	})
	return nil, err
}

func deleteRole(ctx context.Context, s *Service, c *call) (any, error) {
	name := c.Get("RoleName")
	_, err := s.roles.Change(ctx, key(c.account(), name), func(now *role) (*role, error) {
		if now == nil {
			return nil, noRole(name)
		}
		return nil, deletable(&now.entity)
	})
	return nil, err
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
			Account: accountID, Name: DefaultRole, Path: "/", ID: newID(rolePrefix, idLength), Created: s.now(),
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
