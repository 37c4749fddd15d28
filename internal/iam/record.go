package iam

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"hearth/internal/table"
)

// entity is what users and roles have in common.
type entity struct {
	Account string    `json:"account"`
	Name    string    `json:"name"`
	Path    string    `json:"path"`
	ID      string    `json:"id"` // AIDA… or AROA…, never used again
	Created time.Time `json:"created"`
	// Boundary is the ARN of the permissions boundary, or empty.
	Boundary string            `json:"boundary,omitempty"`
	Tags     map[string]string `json:"tags,omitempty"`
	// Inline are the documents of inline policies by name, Attached the ARNs
	// of managed ones in the order they were attached.
	Inline   map[string]string `json:"inline,omitempty"`
	Attached []string          `json:"attached,omitempty"`
}

func (e *entity) clone() entity {
	c := *e
	c.Tags, c.Inline, c.Attached = maps.Clone(e.Tags), maps.Clone(e.Inline), slices.Clone(e.Attached)
	return c
}

// user is an IAM user.
type user struct {
	entity

	Keys []accessKey `json:"keys,omitempty"`
}

func (u *user) clone() *user {
	return &user{entity: u.entity.clone(), Keys: slices.Clone(u.Keys)}
}

func (u *user) arn() string { return "arn:aws:iam::" + u.Account + ":user" + u.Path + u.Name }

// accessKey is a user's long-lived key. Its secret is sealed.
type accessKey struct {
	ID      string    `json:"id"`
	Active  bool      `json:"active"`
	Created time.Time `json:"created"`
	Secret  []byte    `json:"secret"`
}

// role is an IAM role.
type role struct {
	entity

	Description string `json:"description,omitempty"`
	MaxSession  int    `json:"maxSession"` // seconds
	Trust       string `json:"trust"`      // the document of who may assume it
	// Pins are the unique ids that the users and roles named in Trust had when
	// it was stored, by ARN: one that is made again under an old name is
	// another and gets nothing.
	Pins map[string]string `json:"pins,omitempty"`
}

func (r *role) clone() *role {
	c := *r
	c.entity, c.Pins = r.entity.clone(), maps.Clone(r.Pins)
	return &c
}

func (r *role) arn() string { return "arn:aws:iam::" + r.Account + ":role" + r.Path + r.Name }

// managed is a managed policy.
type managed struct {
	Account     string            `json:"account"`
	Name        string            `json:"name"`
	Path        string            `json:"path"`
	ID          string            `json:"id"` // ANPA…
	Description string            `json:"description,omitempty"`
	Created     time.Time         `json:"created"`
	Updated     time.Time         `json:"updated"`
	Tags        map[string]string `json:"tags,omitempty"`
	// Versions are v1, v2, …; the highest number ever used is Last.
	Versions []policyVersion `json:"versions"`
	Default  string          `json:"default"`
	Last     int             `json:"last"`
}

type policyVersion struct {
	ID       string    `json:"id"`
	Document string    `json:"document"`
	Created  time.Time `json:"created"`
}

func (m *managed) clone() *managed {
	c := *m
	c.Tags, c.Versions = maps.Clone(m.Tags), slices.Clone(m.Versions)
	return &c
}

func (m *managed) arn() string {
	return "arn:aws:iam::" + m.Account + ":policy" + m.Path + m.Name
}

// version returns a version of the policy, nil if there is none.
func (m *managed) version(id string) *policyVersion {
	for i := range m.Versions {
		if m.Versions[i].ID == id {
			return &m.Versions[i]
		}
	}
	return nil
}

// provider is an OpenID Connect identity provider; its name is its URL without
// the scheme.
type provider struct {
	Account     string            `json:"account"`
	Name        string            `json:"name"`
	Created     time.Time         `json:"created"`
	Clients     []string          `json:"clients,omitempty"`
	Thumbprints []string          `json:"thumbprints,omitempty"`
	Tags        map[string]string `json:"tags,omitempty"`
}

func (p *provider) clone() *provider {
	c := *p
	c.Clients, c.Thumbprints, c.Tags = slices.Clone(p.Clients), slices.Clone(p.Thumbprints), maps.Clone(p.Tags)
	return &c
}

func (p *provider) arn() string { return "arn:aws:iam::" + p.Account + ":oidc-provider/" + p.Name }

// account is an account beside the first, which needs no record.
type account struct {
	ID      string    `json:"id"`
	Name    string    `json:"name"`
	Created time.Time `json:"created"`
	// Root is the root user's access key.
	Root accessKey `json:"root"`
}

// checkEntity checks what the rest relies on.
func checkEntity(k table.Key, e *entity, prefix string) error {
	if entityKey(e.Account, e.Name) != k {
		return fmt.Errorf("it is the record of %.100q in account %.20q", e.Name, e.Account)
	}
	if len(e.ID) < len(prefix) || e.ID[:len(prefix)] != prefix || e.Path == "" {
		return errors.New("id or path is missing")
	}
	return nil
}

func checkUser(k table.Key, u *user) error { return checkEntity(k, &u.entity, userPrefix) }
func checkRole(k table.Key, r *role) error { return checkEntity(k, &r.entity, rolePrefix) }

func checkManaged(k table.Key, m *managed) error {
	if entityKey(m.Account, m.Name) != k {
		return fmt.Errorf("it is the record of %.100q in account %.20q", m.Name, m.Account)
	}
	if m.version(m.Default) == nil {
		return errors.New("the default version is missing")
	}
	return nil
}

func checkProvider(k table.Key, p *provider) error {
	if p.Account != k.Account || p.Name != k.Name {
		return fmt.Errorf("it is the record of %.100q in account %.20q", p.Name, p.Account)
	}
	return nil
}

func checkAccount(k table.Key, a *account) error {
	if a.ID != k.Account || k.Name != accountRecord || a.Root.ID == "" {
		return fmt.Errorf("it is the record of account %.20q", a.ID)
	}
	return nil
}
