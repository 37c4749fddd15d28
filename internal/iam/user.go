package iam

import (
	"context"
	"slices"

	"hearth/internal/awserr"
	"hearth/internal/policy"
)

const (
	maxKeys   = 2    // of a user
	maxListed = 1000 // looked through for one answer
)

var iamOperations = merge(
	map[string]operation{
		"CreateUser":         {serve: createUser, resource: newUserARN},
		"GetUser":            {serve: getUser, resource: userARN},
		"ListUsers":          {serve: listUsers},
		"UpdateUser":         {serve: updateUser, resource: userARN},
		"DeleteUser":         {serve: deleteUser, resource: userARN},
		"CreateAccessKey":    {serve: createAccessKey, resource: userARN},
		"ListAccessKeys":     {serve: listAccessKeys, resource: userARN},
		"UpdateAccessKey":    {serve: updateAccessKey, resource: userARN},
		"DeleteAccessKey":    {serve: deleteAccessKey, resource: userARN},
		"ListGroupsForUser":  {serve: listNothing, resource: userARN},
		"ListMFADevices":     {serve: listNothing, resource: userARN},
		"ListSSHPublicKeys":  {serve: listNothing, resource: userARN},
		"ListAccountAliases": {serve: listNothing},
		"GetLoginProfile":    {serve: noLoginProfile, resource: userARN},
	},
	entityOps("User", editUser, lookUser, userARN, policy.QuotaInlineUser),
	roleOperations, policyOperations, providerOperations,
)

func merge(all ...map[string]operation) map[string]operation {
	one := make(map[string]operation)
	for _, some := range all {
		for name, op := range some {
			one[name] = op
		}
	}
	return one
}

// userName is the user that a call names, or the caller.
func userName(c *call) string {
	if n := c.Get("UserName"); n != "" {
		return n
	}
	if id, err := identityOf(c.Caller); err == nil && id.Kind == policy.User {
		return id.Name
	}
	return ""
}

func userARN(s *Service, c *call) string {
	name := userName(c)
	if u, ok := s.users.Lookup(key(c.account(), name)); ok {
		return u.arn()
	}
	return "arn:aws:iam::" + c.account() + ":user/" + name
}

func newUserARN(_ *Service, c *call) string {
	path, err := c.path()
	if err != nil {
		path = "/"
	}
	return "arn:aws:iam::" + c.account() + ":user" + path + c.Get("UserName")
}

func (s *Service) user(c *call) (*user, error) {
	name := userName(c)
	if u, ok := s.users.Lookup(key(c.account(), name)); ok {
		return u, nil
	}
	return nil, noUser(name)
}

func noUser(name string) error {
	return noEntity("The user with name %.128s cannot be found.", name)
}

func lookUser(s *Service, c *call) (*entity, error) {
	u, err := s.user(c)
	if err != nil {
		return nil, err
	}
	return &u.entity, nil
}

// changeUser applies an edit to a private copy of the user that a call names.
func (s *Service) changeUser(ctx context.Context, c *call, f func(u *user) error) (*user, error) {
	name := userName(c)
	return s.users.Change(ctx, key(c.account(), name), func(now *user) (*user, error) {
		if now == nil {
			return nil, noUser(name)
		}
		next := now.clone()
		return next, f(next)
	})
}

func editUser(ctx context.Context, s *Service, c *call, f func(e *entity) error) error {
	_, err := s.changeUser(ctx, c, func(u *user) error { return f(&u.entity) })
	return err
}

type xmlUser struct {
	Path                string
	UserName            string
	UserID              string `xml:"UserId"`
	Arn                 string
	CreateDate          string
	PermissionsBoundary *boundary
	Tags                []xmlTag `xml:"Tags>member"`
}

func shownUser(u *user) xmlUser {
	return xmlUser{u.Path, u.Name, u.ID, u.arn(), date(u.Created), shownBoundary(u.Boundary), xmlTags(u.Tags)}
}

type userResult struct{ User xmlUser }

func createUser(ctx context.Context, s *Service, c *call) (any, error) {
	name, err := c.name("UserName", maxUserName)
	if err != nil {
		return nil, err
	}
	path, err := c.path()
	if err != nil {
		return nil, err
	}
	u := &user{entity: entity{
		Account: c.account(), Name: name, Path: path, ID: newID(userPrefix, idLength), Created: s.now(), Tags: c.tags(),
	}}
	if err := checkTags(u.Tags); err != nil {
		return nil, err
	}
	if err := s.setBoundary(&u.entity, c.Get("PermissionsBoundary")); err != nil {
		return nil, err
	}
	u, err = s.users.Change(ctx, key(u.Account, name), func(now *user) (*user, error) {
		if now != nil {
			return nil, awserr.New("EntityAlreadyExists", "User with name %s already exists.", name)
		}
		return u, nil
	})
	if err != nil {
		return nil, err
	}
	return &userResult{shownUser(u)}, nil
}

func getUser(_ context.Context, s *Service, c *call) (any, error) {
	if id, err := identityOf(c.Caller); c.Get("UserName") == "" && err == nil && id.Kind == policy.RootUser {
		return &userResult{xmlUser{Path: "/", UserID: id.Account, Arn: id.ARN, CreateDate: date(s.now())}}, nil
	}
	u, err := s.user(c)
	if err != nil {
		return nil, err
	}
	return &userResult{shownUser(u)}, nil
}

type usersResult struct {
	Users       []xmlUser `xml:"Users>member"`
	IsTruncated bool
	Marker      string `xml:"Marker,omitempty"`
}

func listUsers(_ context.Context, s *Service, c *call) (any, error) {
	after, limit, err := c.page()
	if err != nil {
		return nil, err
	}
	r := &usersResult{}
	for _, u := range s.users.List(c.account(), "", after, maxListed) {
		if !hasPath(u.Path, c) {
			continue
		}
		if len(r.Users) == limit {
			r.IsTruncated, r.Marker = true, r.Users[limit-1].UserName
			break
		}
		r.Users = append(r.Users, shownUser(u))
	}
	return r, nil
}

// hasPath says whether an entity is among those a list asks for.
func hasPath(path string, c *call) bool {
	prefix := c.Get("PathPrefix")
	return len(path) >= len(prefix) && path[:len(prefix)] == prefix
}

func updateUser(ctx context.Context, s *Service, c *call) (any, error) {
	if c.Get("NewUserName") != "" {
		return nil, awserr.New("NotImplementedException", "Users cannot be renamed on Hearth. Make a new user, and delete the old one.")
	}
	_, err := s.changeUser(ctx, c, func(u *user) error {
		if p := c.Get("NewPath"); pathPattern.MatchString(p) {
			u.Path = p
		}
		return nil
	})
	return nil, err
}

func deleteUser(ctx context.Context, s *Service, c *call) (any, error) {
	name := userName(c)
	_, err := s.users.Change(ctx, key(c.account(), name), func(now *user) (*user, error) {
		switch {
		case now == nil:
			return nil, noUser(name)
		case len(now.Keys) > 0:
			return nil, awserr.New("DeleteConflict", "Cannot delete entity, must delete access keys first.")
		}
		return nil, deletable(&now.entity)
	})
	return nil, err
}

// deletable refuses to delete what policies hang on.
func deletable(e *entity) error {
	switch {
	case len(e.Inline) > 0:
		return awserr.New("DeleteConflict", "Cannot delete entity, must delete policies first.")
	case len(e.Attached) > 0:
		return awserr.New("DeleteConflict", "Cannot delete entity, must detach all policies first.")
	}
	return nil
}

type xmlKey struct {
	UserName        string
	AccessKeyID     string `xml:"AccessKeyId"`
	Status          string
	SecretAccessKey string `xml:"SecretAccessKey,omitempty"`
	CreateDate      string
}

type keyResult struct{ AccessKey xmlKey }

func shownKey(user string, k *accessKey) xmlKey {
	status := "Inactive"
	if k.Active {
		status = "Active"
	}
	return xmlKey{UserName: user, AccessKeyID: k.ID, Status: status, CreateDate: date(k.Created)}
}

func createAccessKey(ctx context.Context, s *Service, c *call) (any, error) {
	k, secret, err := s.newKey(ctx, c.account())
	if err != nil {
		return nil, err
	}
	u, err := s.changeUser(ctx, c, func(u *user) error {
		if len(u.Keys) >= maxKeys {
			return awserr.New("LimitExceeded", "Cannot exceed quota for AccessKeysPerUser: %d", maxKeys)
		}
		u.Keys = append(u.Keys, k)
		return nil
	})
	if err != nil {
		return nil, err
	}
	r := &keyResult{shownKey(u.Name, &k)}
	r.AccessKey.SecretAccessKey = secret
	return r, nil
}

type keysResult struct {
	AccessKeyMetadata []xmlKey `xml:"AccessKeyMetadata>member"`
	IsTruncated       bool
}

func listAccessKeys(_ context.Context, s *Service, c *call) (any, error) {
	u, err := s.user(c)
	if err != nil {
		return nil, err
	}
	r := &keysResult{}
	for i := range u.Keys {
		r.AccessKeyMetadata = append(r.AccessKeyMetadata, shownKey(u.Name, &u.Keys[i]))
	}
	return r, nil
}

func noKey(id string) error {
	return noEntity("The Access Key with id %.64s cannot be found.", id)
}

func updateAccessKey(ctx context.Context, s *Service, c *call) (any, error) {
	id, status := c.Get("AccessKeyId"), c.Get("Status")
	if status != "Active" && status != "Inactive" {
		return nil, invalid("1 validation error detected: Value '%.20s' at 'status' failed to satisfy constraint: Member must satisfy enum value set: [Active, Inactive]", status)
	}
	_, err := s.changeUser(ctx, c, func(u *user) error {
		i := slices.IndexFunc(u.Keys, func(k accessKey) bool { return k.ID == id })
		if i < 0 {
			return noKey(id)
		}
		u.Keys[i].Active = status == "Active"
		return nil
	})
	return nil, err
}

func deleteAccessKey(ctx context.Context, s *Service, c *call) (any, error) {
	id := c.Get("AccessKeyId")
	_, err := s.changeUser(ctx, c, func(u *user) error {
		n := len(u.Keys)
		if u.Keys = slices.DeleteFunc(u.Keys, func(k accessKey) bool { return k.ID == id }); len(u.Keys) == n {
			return noKey(id)
		}
		return nil
	})
	return nil, err
}

// What this service does not have answers as if there were none, for tools
// that look before they delete.

type emptyResult struct{ IsTruncated bool }

func listNothing(context.Context, *Service, *call) (any, error) { return &emptyResult{}, nil }

func noLoginProfile(_ context.Context, _ *Service, c *call) (any, error) {
	return nil, noEntity("Login Profile for User %.128s cannot be found.", userName(c))
}
