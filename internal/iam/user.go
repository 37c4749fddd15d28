package iam

import (
	"context"
	"maps"
	"slices"

	"hearth/internal/awserr"
	"hearth/internal/awsid"
	"hearth/internal/awsquery"
	"hearth/internal/policy"
	"hearth/internal/table"
)

// maxKeys is how many access keys a user can have.
const maxKeys = 2

var iamOperations = merge(
	map[string]operation{
		"CreateUser":           {serve: createUser, about: aboutNewUser},
		"GetUser":              {serve: getUser, about: aboutUser},
		"ListUsers":            {serve: listUsers, about: aboutUsers},
		"UpdateUser":           {serve: updateUser, about: aboutUser},
		"DeleteUser":           {serve: deleteUser, about: aboutUser},
		"CreateAccessKey":      {serve: createAccessKey, about: aboutUser},
		"ListAccessKeys":       {serve: listAccessKeys, about: aboutUser},
		"UpdateAccessKey":      {serve: updateAccessKey, about: aboutUser},
		"DeleteAccessKey":      {serve: deleteAccessKey, about: aboutUser},
		"GetAccessKeyLastUsed": {serve: getAccessKeyLastUsed},
	},
	entityOps("User", editUser, lookUser, aboutUser, policy.QuotaInlineUser),
	roleOperations, policyOperations, providerOperations, absentOperations, accountOperations,
)

func merge(all ...map[string]operation) map[string]operation {
	one := make(map[string]operation)
	for _, some := range all {
		maps.Copy(one, some)
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

func (s *Service) userNamed(account, name string) (*user, bool) {
	u, ok := s.users.Lookup(entityKey(account, name))
	return u, ok && u.Name == name
}

func aboutUser(s *Service, c *call) subject {
	name := userName(c)
	if u, ok := s.userNamed(c.account(), name); ok {
		return subject{arn: u.arn(), tags: u.Tags, boundary: u.Boundary}
	}
	return subject{arn: "arn:aws:iam::" + c.account() + ":user/" + name}
}

func aboutNewUser(_ *Service, c *call) subject { return aboutNew(c, "user", c.Get("UserName")) }

func aboutUsers(_ *Service, c *call) subject { return aboutNew(c, "user", "") }

// aboutNew is about what is to be made, or about all of a kind.
func aboutNew(c *call, kind, name string) subject {
	path, err := c.path()
	if err != nil {
		path = "/"
	}
	return subject{arn: "arn:aws:iam::" + c.account() + ":" + kind + path + name}
}

func (s *Service) user(c *call) (*user, error) {
	name := userName(c)
	if name == "" {
		return nil, noUserName()
	}
	if u, ok := s.userNamed(c.account(), name); ok {
		return u, nil
	}
	return nil, noUser(name)
}

func noUserName() error {
	return invalid("Must specify userName when calling with non-User credentials")
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
	if name == "" {
		return nil, noUserName()
	}
	u, err := s.users.ChangeWith(ctx, entityKey(c.account(), name), func(now *user) (*user, []table.Op, error) {
		if now == nil || now.Name != name {
			return nil, nil, noUser(name)
		}
		next := now.clone()
		if err := f(next); err != nil {
			return nil, nil, err
		}
		return next, s.useOps("user", &now.entity, &next.entity), nil
	})
	return u, conflicted(err)
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
	Tags                awsquery.List[xmlTag] `xml:",omitempty"`
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
		Account: c.account(), Name: name, Path: path, ID: awsid.Unique(userPrefix), Created: s.now(), Tags: c.tags(),
	}}
	if err := checkTags(u.Tags); err != nil {
		return nil, err
	}
	if err := s.setBoundary(&u.entity, c.Get("PermissionsBoundary")); err != nil {
		return nil, err
	}
	u, err = s.users.ChangeWith(ctx, entityKey(u.Account, name), func(now *user) (*user, []table.Op, error) {
		if now != nil {
			return nil, nil, userExists(name)
		}
		return u, s.useOps("user", nil, &u.entity), nil
	})
	if err != nil {
		return nil, conflicted(err)
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
	Users awsquery.List[xmlUser]
	paging
}

func listUsers(_ context.Context, s *Service, c *call) (any, error) {
	page, end, err := collect(c,
		func(after string, limit int) []*user { return s.users.List(c.account(), "", after, limit) },
		func(u *user) string { return entityKey("", u.Name).Name },
		func(u *user) bool { return hasPath(u.Path, c) })
	r := &usersResult{paging: end}
	for _, u := range page {
		shown := shownUser(u)
		shown.Tags, shown.PermissionsBoundary = nil, nil // AWS leaves them out of lists
		r.Users = append(r.Users, shown)
	}
	return r, err
}

// updateUser moves or renames a user; access keys, policies and the id stay.
func updateUser(ctx context.Context, s *Service, c *call) (any, error) {
	path := c.Get("NewPath")
	if path != "" && !pathPattern.MatchString(path) {
		return nil, badPath("newPath")
	}
	move := func(u *user) {
		if path != "" {
			u.Path = path
		}
	}
	if c.Get("NewUserName") == "" {
		_, err := s.changeUser(ctx, c, func(u *user) error { move(u); return nil })
		return nil, err
	}
	name, err := c.name("NewUserName", maxUserName)
	if err != nil {
		return nil, err
	}
	from, to := entityKey(c.account(), userName(c)), entityKey(c.account(), name)
	if from == to {
		_, err := s.changeUser(ctx, c, func(u *user) error { move(u); u.Name = name; return nil })
		return nil, err
	}
	old, err := s.user(c)
	if err != nil {
		return nil, err
	}
	if _, taken := s.users.Lookup(to); taken {
		return nil, userExists(name)
	}
	_, err = s.users.ChangeWith(ctx, from, func(now *user) (*user, []table.Op, error) {
		if now == nil || now.Name != old.Name {
			return nil, nil, noUser(old.Name)
		}
		next := now.clone()
		next.Name = name
		move(next)
		return nil, append(s.useOps("user", &now.entity, &next.entity), s.users.Create(to, next)), nil
	})
	return nil, conflicted(err)
}

func userExists(name string) error {
	return awserr.New("EntityAlreadyExists", "User with name %s already exists.", name)
}

func deleteUser(ctx context.Context, s *Service, c *call) (any, error) {
	name := c.Get("UserName")
	if name == "" {
		return nil, missing("UserName")
	}
	_, err := s.users.ChangeWith(ctx, entityKey(c.account(), name), func(now *user) (*user, []table.Op, error) {
		switch {
		case now == nil || now.Name != name:
			return nil, nil, noUser(name)
		case len(now.Keys) > 0:
			return nil, nil, awserr.New("DeleteConflict", "Cannot delete entity, must delete access keys first.")
		}
		return nil, s.useOps("user", &now.entity, nil), deletable(&now.entity)
	})
	return nil, conflicted(err)
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

type xmlKeyMetadata struct {
	UserName    string `xml:",omitempty"`
	AccessKeyID string `xml:"AccessKeyId"`
	Status      string
	CreateDate  string `xml:",omitempty"`
}

type keysResult struct {
	AccessKeyMetadata awsquery.List[xmlKeyMetadata]
	paging
}

// rootKey is the key of the root user who asks for its own.
func (s *Service) rootKey(c *call) (xmlKeyMetadata, bool) {
	id, err := identityOf(c.Caller)
	if err != nil || c.Get("UserName") != "" || id.Kind != policy.RootUser {
		return xmlKeyMetadata{}, false
	}
	if a, ok := s.accounts.Lookup(key(id.Account, accountRecord)); ok {
		k := shownKey("", &a.Root)
		return xmlKeyMetadata{AccessKeyID: k.AccessKeyID, Status: k.Status, CreateDate: k.CreateDate}, true
	}
	return xmlKeyMetadata{AccessKeyID: s.cfg.Root.AccessKeyID, Status: "Active"}, true // nobody noted when it was made
}

func listAccessKeys(_ context.Context, s *Service, c *call) (any, error) {
	if k, ok := s.rootKey(c); ok {
		return &keysResult{AccessKeyMetadata: awsquery.List[xmlKeyMetadata]{k}}, nil
	}
	u, err := s.user(c)
	if err != nil {
		return nil, err
	}
	keys, end, err := cut(c, u.Keys)
	r := &keysResult{paging: end}
	for i := range keys {
		k := shownKey(u.Name, &keys[i])
		r.AccessKeyMetadata = append(r.AccessKeyMetadata, xmlKeyMetadata{k.UserName, k.AccessKeyID, k.Status, k.CreateDate})
	}
	return r, err
}

func noKey(id string) error {
	return noEntity("The Access Key with id %.64s cannot be found.", id)
}

func updateAccessKey(ctx context.Context, s *Service, c *call) (any, error) {
	id, status := c.Get("AccessKeyId"), c.Get("Status")
	if status != "Active" && status != "Inactive" {
		return nil, invalid("1 validation error detected: Value '%.20s' at 'status' "+
			"failed to satisfy constraint: Member must satisfy enum value set: [Active, Inactive]", status)
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

type lastUsed struct{ ServiceName, Region string }

type lastUsedResult struct {
	UserName          string
	AccessKeyLastUsed lastUsed
}

// getAccessKeyLastUsed answers as for keys that AWS has no date for: Hearth
// keeps none.
func getAccessKeyLastUsed(_ context.Context, s *Service, c *call) (any, error) {
	id := c.Get("AccessKeyId")
	if owner, ok := s.keys.Load(id); ok {
		if u, ok := s.users.Lookup(owner.(table.Key)); ok && u.Account == c.account() {
			return &lastUsedResult{u.Name, lastUsed{"N/A", "N/A"}}, nil
		}
	}
	return nil, noKey(id)
}
