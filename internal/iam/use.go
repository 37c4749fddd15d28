package iam

import (
	"errors"
	"fmt"
	"strings"

	"hearth/internal/awserr"
	"hearth/internal/table"
)

// A use says that a user or role has a customer's managed policy attached, or
// is bounded by it. It is made and removed in the transaction that changes the
// entity, so that a policy can be deleted on the condition that there is none:
// what names a policy that is gone would get whatever is made under its name.
type use struct {
	Policy string `json:"policy"` // ARN
	Holder string `json:"holder"` // ARN of the user or role
}

// usePrefix begins the names of a policy's uses. No name of IAM's has a colon.
func usePrefix(policyName string) string { return strings.ToLower(policyName) + ":" }

func checkUse(k table.Key, u *use) error {
	if _, _, name, ok := parseARN(u.Policy); !ok || !strings.HasPrefix(k.Name, usePrefix(name)) || u.Holder == "" {
		return fmt.Errorf("it is a use of policy %.200q", u.Policy)
	}
	return nil
}

// usesOf returns the uses that an entity makes of its account's own policies.
func usesOf(kind string, e *entity) map[table.Key]*use {
	all := make(map[table.Key]*use)
	if e == nil {
		return all
	}
	holder := "arn:aws:iam::" + e.Account + ":" + kind + e.Path + e.Name
	add := func(arn, how string) {
		account, _, name, ok := parseARN(arn)
		if !ok || account != e.Account {
			return // AWS's policies are never deleted
		}
		k := table.Key{Account: account, Name: usePrefix(name) + kind + ":" + strings.ToLower(e.Name) + ":" + how}
		all[k] = &use{Policy: arn, Holder: holder}
	}
	for _, arn := range e.Attached {
		add(arn, "attached")
	}
	if e.Boundary != "" {
		add(e.Boundary, "boundary")
	}
	return all
}

// useOps is what has to happen with an entity's change: new uses need their
// policy to be there.
func (s *Service) useOps(kind string, before, after *entity) []table.Op {
	was, is := usesOf(kind, before), usesOf(kind, after)
	var ops []table.Op
	for k := range was {
		if is[k] == nil {
			ops = append(ops, s.uses.Delete(k))
		}
	}
	for k, u := range is {
		if was[k] == nil {
			_, _, name, _ := parseARN(u.Policy)
			ops = append(ops, s.uses.Create(k, u), s.policies.Exists(entityKey(k.Account, name)))
		}
	}
	return ops
}

// conflicted tells a caller of a change that met another one beside it.
func conflicted(err error) error {
	if errors.Is(err, table.ErrConflict) {
		return awserr.New("ConcurrentModification", "The request was rejected because multiple requests to change this object "+
			"were submitted simultaneously. Submit the request again.")
	}
	return err
}

// entityKey is the key of a user, role or policy: names that differ only in
// case are the same.
func entityKey(account, name string) table.Key {
	return table.Key{Account: account, Name: strings.ToLower(name)}
}
