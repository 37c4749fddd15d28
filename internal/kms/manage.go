package kms

import (
	"context"
	"time"

	"github.com/google/uuid"

	"hearth/internal/awserr"
)

// Bounds of AWS's.
const (
	maxKeys         = 10_000 // of an account; AWS's is higher, its memory larger
	maxDescription  = 8192
	defaultDeletion = 30 // days
	minDeletion     = 7
	day             = 24 * time.Hour
	maxPage         = 1000
	defaultPage     = 100
)

type keyInput struct {
	KeyID string `json:"KeyId"`
}

type createKeyInput struct {
	Policy                *string `json:"Policy"`
	Description           string  `json:"Description"`
	KeyUsage              string  `json:"KeyUsage"`
	CustomerMasterKeySpec string  `json:"CustomerMasterKeySpec"`
	KeySpec               string  `json:"KeySpec"`
	Origin                string  `json:"Origin"`
	CustomKeyStoreID      string  `json:"CustomKeyStoreId"`
	XksKeyID              string  `json:"XksKeyId"`
	MultiRegion           bool    `json:"MultiRegion"`
	Tags                  []tag   `json:"Tags"`
	Bypass                bool    `json:"BypassPolicyLockoutSafetyCheck"`
}

// check refuses kinds of keys that Hearth has not.
func (in *createKeyInput) check() error {
	switch {
	case in.KeySpec != "" && in.KeySpec != symmetric:
		return unsupported("KeySpec " + clip(in.KeySpec) + " is")
	case in.CustomerMasterKeySpec != "" && in.CustomerMasterKeySpec != symmetric:
		return unsupported("CustomerMasterKeySpec " + clip(in.CustomerMasterKeySpec) + " is")
	case in.KeyUsage != "" && in.KeyUsage != encryptDecrypt:
		return unsupported("KeyUsage " + clip(in.KeyUsage) + " is")
	case in.Origin != "" && in.Origin != "AWS_KMS":
		return unsupported("Origin " + clip(in.Origin) + " is")
	case in.CustomKeyStoreID != "" || in.XksKeyID != "":
		return unsupported("A custom key store is")
	case in.MultiRegion:
		return unsupported("MultiRegion is")
	}
	return checkDescription(in.Description)
}

func checkDescription(s string) error {
	if len(s) > maxDescription {
		return constraint(s, "description", "Member must have length less than or equal to 8192")
	}
	return nil
}

func createKey(_ context.Context, c *call, in *createKeyInput) (*request, error) {
	if err := in.check(); err != nil {
		return nil, err
	}
	tags, err := withTags(nil, in.Tags)
	if err != nil {
		return nil, err
	}
	policy := defaultPolicy(c.AccountID)
	if in.Policy != nil {
		policy = *in.Policy
	}
	if err := checkPolicy(policy); err != nil {
		return nil, err
	}
	access := c.onAccount()
	for name, value := range tags {
		access.Conditions["aws:RequestTag/"+name] = value
	}
	k := c.s.newKey(c.AccountID, uuid.NewString(), managedByCustomer, c.now)
	k.Description, k.Policy, k.Tags = in.Description, policy, tags
	var check *lockout
	if in.Policy != nil && !in.Bypass {
		check = &lockout{k, policy}
	}
	return &request{access: []Access{access}, lockout: check, run: func(ctx context.Context) (any, error) {
		if len(c.s.keys.List(c.AccountID, "", "", maxKeys)) >= maxKeys {
			return nil, awserr.New("LimitExceededException", "The account has %d keys, which is the most.", maxKeys)
		}
		if k.Materials, err = c.s.nextMaterial(ctx, k, c.now, false); err != nil {
			return nil, err
		}
		_, err := c.s.keys.ChangeWith(ctx, tableKey(k.Account, k.ID), createOnly(k))
		if err != nil {
			return nil, storeError(err)
		}
		return map[string]metadata{"KeyMetadata": k.metadata()}, nil
	}}, nil
}

func (s *Service) newKey(account, id, manager string, now time.Time) *key {
	return &key{Account: account, Region: s.cfg.Region, ID: id, Manager: manager, Created: now, State: enabled}
}

func describeKey(ctx context.Context, c *call, in *keyInput) (*request, error) {
	k, err := c.find(ctx, in.KeyID)
	if err != nil {
		return nil, err
	}
	return &request{access: []Access{c.on(k, c.requestAlias(in.KeyID))}, run: func(context.Context) (any, error) {
		return map[string]metadata{"KeyMetadata": k.metadata()}, nil
	}}, nil
}

type listInput struct {
	Limit  *int   `json:"Limit"`
	Marker string `json:"Marker"`
}

func listKeys(_ context.Context, c *call, in *listInput) (*request, error) {
	p, err := in.page(maxPage, defaultPage)
	if err != nil {
		return nil, err
	}
	type entry struct {
		ARN string `json:"KeyArn"`
		ID  string `json:"KeyId"`
	}
	return &request{access: []Access{c.onAccount()}, run: func(context.Context) (any, error) {
		list := []entry{}
		var next string
		for after := p.after; next == ""; {
			keys := c.s.keys.List(c.AccountID, "", after, maxPage)
			for _, k := range keys {
				if len(list) == p.limit {
					next = list[len(list)-1].ID
					break
				}
				if after = k.ID; !k.gone(c.now) {
					list = append(list, entry{k.arn(), k.ID})
				}
			}
			if len(keys) < maxPage {
				break
			}
		}
		return struct {
			Keys []entry `json:"Keys"`
			pageAnswer
		}{list, answerPage(next)}, nil
	}}, nil
}

func enableKey(_ context.Context, c *call, in *keyInput) (*request, error) {
	return c.change(in.KeyID, func(now *key) (*key, error) {
		if err := mustStay(now); err != nil {
			return nil, err
		}
		now.State = enabled
		return now, nil
	}, nil)
}

func disableKey(_ context.Context, c *call, in *keyInput) (*request, error) {
	return c.change(in.KeyID, func(now *key) (*key, error) {
		if err := mustStay(now); err != nil {
			return nil, err
		}
		now.State = disabled
		return now, nil
	}, nil)
}

type deletionInput struct {
	KeyID string `json:"KeyId"`
	Days  *int   `json:"PendingWindowInDays"`
}

func scheduleKeyDeletion(_ context.Context, c *call, in *deletionInput) (*request, error) {
	days := defaultDeletion
	if in.Days != nil {
		days = *in.Days
	}
	if days < minDeletion || days > defaultDeletion {
		return nil, badValue("PendingWindowInDays must be between %d and %d", minDeletion, defaultDeletion)
	}
	return c.change(in.KeyID, func(now *key) (*key, error) {
		if err := mustStay(now); err != nil {
			return nil, err
		}
		now.State, now.Deletion = pendingDeletion, c.now.Add(time.Duration(days)*day)
		return now, nil
	}, func(k *key) any {
		return struct {
			KeyID               string `json:"KeyId"`
			DeletionDate        epoch  `json:"DeletionDate"`
			KeyState            string `json:"KeyState"`
			PendingWindowInDays int    `json:"PendingWindowInDays"`
		}{k.arn(), epoch(k.Deletion), k.State, days}
	})
}

func cancelKeyDeletion(_ context.Context, c *call, in *keyInput) (*request, error) {
	return c.change(in.KeyID, func(now *key) (*key, error) {
		if now.State != pendingDeletion {
			return nil, awserr.New("KMSInvalidStateException", "%s is not pending deletion.", now.arn())
		}
		// As at AWS, a key that was nearly lost is enabled by somebody's hand.
		now.State, now.Deletion = disabled, time.Time{}
		return now, nil
	}, func(k *key) any { return map[string]string{"KeyId": k.arn()} })
}

type descriptionInput struct {
	KeyID       string `json:"KeyId"`
	Description string `json:"Description"`
}

func updateKeyDescription(_ context.Context, c *call, in *descriptionInput) (*request, error) {
	if err := checkDescription(in.Description); err != nil {
		return nil, err
	}
	return c.change(in.KeyID, func(now *key) (*key, error) {
		now.Description = in.Description
		return now, mustStay(now)
	}, nil)
}
