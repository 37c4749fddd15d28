package kms

import (
	"context"
	"fmt"
	"time"

	"hearth/internal/awserr"
	"hearth/internal/table"
)

// lambdaAlias is the alias of Lambda's own key in every account.
const lambdaAlias = "aws/lambda"

// managedKey returns Lambda's own key of an account, which is made when it is
// first asked for.
func (s *Service) managedKey(ctx context.Context, account string) (*key, error) {
	id := managedID(s.cfg.Region, account, lambdaAlias)
	if k, ok := s.keys.Lookup(tableKey(account, id)); ok {
		return k, nil
	}
	now := s.now()
	k := s.newKey(account, id, managedByAWS, now)
	k.Description = "Default key that protects my Lambda functions when no other key is defined"
	k.Policy = managedPolicy(s.cfg.Region, account)
	k.Rotation = rotation{Enabled: true, Days: usualRotation, Next: now.Add(usualRotation * day)}
	var err error
	if k.Materials, err = s.nextMaterial(ctx, k, now, false); err != nil {
		return nil, err
	}
	name := &alias{Account: account, Name: lambdaAlias, Target: id, Created: now, Updated: now}
	k, err = s.keys.ChangeWith(ctx, tableKey(account, id), func(found *key) (*key, []table.Op, error) {
		if found != nil {
			return found, nil, nil // another was faster
		}
		return k, []table.Op{s.aliases.Create(tableKey(account, lambdaAlias), name)}, nil
	})
	return k, storeError(err)
}

// createOnly is an edit that makes a record and replaces none.
func createOnly[T any](r *T) func(now *T) (*T, []table.Op, error) {
	return func(now *T) (*T, []table.Op, error) {
		if now != nil {
			return nil, nil, table.ErrConflict
		}
		return r, nil, nil
	}
}

// ownPrefix begins the targets of operations that are Hearth's own, and not
// KMS's.
const ownPrefix = "Hearth."

var ownOperations = map[string]operation{"RotateKeys": op(rotateKeys)}

type rotateKeysInput struct {
	// Master asks for a new master key instead of new keys of the account.
	Master bool `json:"Master"`
}

// RotateKeysOutput tells the versions that are current after a rotation.
type RotateKeysOutput struct {
	MasterKeyVersion  uint32 `json:",omitempty"`
	AccountKeyVersion uint32 `json:",omitempty"`
	// LambdaKeyVersion is that of the material of alias/aws/lambda.
	LambdaKeyVersion uint32 `json:",omitempty"`
	// Resealed is how many keys' material was sealed anew.
	Resealed int `json:",omitempty"`
}

// rotateKeys gives an account a new key, and Lambda's key in it new material;
// or, to the root of the operator's account, the installation a new master
// key. What was sealed before still opens. Keys' material is sealed anew at
// once, functions' environments when they are next written.
func rotateKeys(_ context.Context, c *call, in *rotateKeysInput) (*request, error) {
	if c.PrincipalARN != "arn:aws:iam::"+c.AccountID+":root" || in.Master && c.AccountID != c.s.cfg.Operator {
		return nil, denied(c.Identity, c.action, "*")
	}
	return &request{access: []Access{c.onAccount()}, run: func(ctx context.Context) (any, error) {
		var out RotateKeysOutput
		var err error
		if in.Master {
			out.MasterKeyVersion, err = c.s.cfg.Keeper.RotateMaster(ctx)
			return out, err
		}
		if out.AccountKeyVersion, err = c.s.cfg.Keeper.Rotate(ctx, c.AccountID); err != nil {
			return nil, storeError(err)
		}
		k, err := c.s.managedKey(ctx, c.AccountID)
		if err != nil {
			return nil, err
		}
		if k, err = c.s.edit(ctx, c, k, func(now *key) (*key, error) { return now, c.s.rotate(ctx, now, c.now, false) }); err != nil {
			return nil, err
		}
		out.LambdaKeyVersion = k.current().Version
		out.Resealed, err = c.s.reseal(ctx, c.AccountID)
		return out, err
	}}, nil
}

// reseal seals the material of an account's keys by the account's current key,
// where it is not yet.
func (s *Service) reseal(ctx context.Context, account string) (resealed int, err error) {
	for after := ""; ; {
		some := s.keys.List(account, "", after, maxPage)
		for _, k := range some {
			after = k.ID
			changed := false
			_, err := s.keys.Change(ctx, tableKey(k.Account, k.ID), func(now *key) (next *key, err error) {
				next, changed, err = s.resealed(ctx, now)
				return next, err
			})
			if err != nil {
				return resealed, storeError(fmt.Errorf("seal the material of %s anew: %w", k.arn(), err))
			}
			if changed {
				resealed++
			}
		}
		if len(some) < maxPage {
			return resealed, nil
		}
	}
}

func (s *Service) resealed(ctx context.Context, now *key) (next *key, changed bool, err error) {
	if now == nil {
		return nil, false, nil
	}
	next = now.clone()
	for i := range next.Materials {
		m := &next.Materials[i]
		if !s.cfg.Keeper.Stale(now.Account, m.Sealed) {
			continue
		}
		b := materialBinding(now.Account, now.ID, m.Version)
		raw, err := s.cfg.Keeper.Open(ctx, b, m.Sealed)
		if err != nil {
			return nil, false, err
		}
		if m.Sealed, err = s.cfg.Keeper.Seal(ctx, b, raw); err != nil {
			return nil, false, err
		}
		changed = true
	}
	if !changed {
		return now, false, nil
	}
	return next, true, nil
}

// run does the chores until ctx ends.
func (s *Service) run(ctx context.Context) {
	tick := time.NewTicker(s.cfg.Chores)
	defer tick.Stop()
	for {
		s.chores(ctx)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// chores deletes keys whose time has come, and rotates those that are due.
func (s *Service) chores(ctx context.Context) {
	now := s.now()
	for _, k := range s.keys.All() {
		var err error
		switch {
		case ctx.Err() != nil:
			return
		case k.gone(now):
			err = s.destroy(ctx, k, now)
		case k.State == enabled && k.Rotation.Enabled && !now.Before(k.Rotation.Next):
			err = s.rotateDue(ctx, k, now)
		}
		if err != nil && ctx.Err() == nil {
			s.cfg.Log.Error("kms: a key's deletion or rotation is due and failed, it is tried again later", "key", k.arn(), "error", err)
		}
	}
}

// destroy deletes a key and its aliases; nothing opens what it encrypted.
func (s *Service) destroy(ctx context.Context, k *key, now time.Time) error {
	_, err := s.keys.ChangeWith(ctx, tableKey(k.Account, k.ID), func(found *key) (*key, []table.Op, error) {
		if found == nil || !found.gone(now) {
			return found, nil, nil // somebody has changed their mind
		}
		var ops []table.Op
		for _, a := range s.aliasesOf(k) {
			ops = append(ops, s.aliases.Delete(tableKey(a.Account, a.Name)))
		}
		return nil, ops, nil
	})
	return storeError(err)
}

func (s *Service) rotateDue(ctx context.Context, k *key, now time.Time) error {
	_, err := s.keys.Change(ctx, tableKey(k.Account, k.ID), func(found *key) (*key, error) {
		if found == nil || found.State != enabled || !found.Rotation.Enabled || now.Before(found.Rotation.Next) {
			return found, nil
		}
		next := found.clone()
		if err := s.rotate(ctx, next, now, false); err != nil {
			return nil, err
		}
		return next, nil
	})
	if e, ok := awserr.As(err); ok && e.Code == "LimitExceededException" {
		return nil // for ever; the key goes on with what it has
	}
	return storeError(err)
}
