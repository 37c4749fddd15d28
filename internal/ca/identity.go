package ca

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
)

// Role is what a process does in the cluster.
type Role string

// The roles.
const (
	// State keeps etcd.
	State Role = "state"
	// Frontend serves the API and the invokes, and the control plane.
	Frontend Role = "frontend"
	// Assignment owns environments: assignment, counting and placement.
	Assignment Role = "assignment"
	// Worker runs functions.
	Worker Role = "worker"
)

// Roles are all roles.
var Roles = []Role{State, Frontend, Assignment, Worker}

// Names in certificates by which etcd, which knows nothing of roles, tells
// processes apart: members of its own, and those who may read and write it.
const (
	memberName = "member.etcd.hearth.internal"
	clientName = "client.etcd.hearth.internal"
)

// Identity is who a process is.
type Identity struct {
	Cluster string
	Zone    string
	Name    string
	Roles   []Role
}

var (
	label = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)
	// ErrIdentity says that a certificate does not name a process of the cluster.
	ErrIdentity = errors.New("ca: not a node of this cluster")
)

// Validate says what is wrong with an identity.
func (id *Identity) Validate() error {
	var problems []error
	for _, f := range []struct{ what, value string }{{"cluster", id.Cluster}, {"zone", id.Zone}, {"name", id.Name}} {
		if !label.MatchString(f.value) {
			problems = append(problems, fmt.Errorf("%s %.64q: want up to 63 lower-case letters, digits and dashes", f.what, f.value))
		}
	}
	if len(id.Roles) == 0 {
		problems = append(problems, errors.New("no role is given"))
	}
	for _, r := range id.Roles {
		if !slices.Contains(Roles, r) {
			problems = append(problems, fmt.Errorf("role %.64q: want some of %v", r, Roles))
		}
	}
	return errors.Join(problems...)
}

// Has says whether the process has one of the roles.
func (id *Identity) Has(roles ...Role) bool {
	return slices.ContainsFunc(roles, func(r Role) bool { return slices.Contains(id.Roles, r) })
}

const scheme = "hearth"

// uri is the identity as certificates hold it: hearth://CLUSTER/ZONE/NAME?role=ROLE…
func (id *Identity) uri() *url.URL {
	roles := url.Values{}
	for _, r := range id.Roles {
		roles.Add("role", string(r))
	}
	return &url.URL{Scheme: scheme, Host: id.Cluster, Path: "/" + id.Zone + "/" + id.Name, RawQuery: roles.Encode()}
}

var path = regexp.MustCompile(`^/([^/]*)/([^/]*)$`)

// identityOf reads a certificate's identity.
func identityOf(cert *x509.Certificate) (Identity, error) {
	if len(cert.URIs) != 1 || cert.URIs[0].Scheme != scheme {
		return Identity{}, ErrIdentity
	}
	u := cert.URIs[0]
	parts := path.FindStringSubmatch(u.Path)
	if parts == nil {
		return Identity{}, ErrIdentity
	}
	id := Identity{Cluster: u.Host, Zone: parts[1], Name: parts[2]}
	for _, r := range u.Query()["role"] {
		id.Roles = append(id.Roles, Role(r))
	}
	if err := id.Validate(); err != nil {
		return Identity{}, fmt.Errorf("%w: %w", ErrIdentity, err)
	}
	return id, nil
}
