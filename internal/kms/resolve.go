package kms

import (
	"context"
	"strings"

	"hearth/internal/awserr"
)

// maxKeyID is the longest identifier of a key.
const maxKeyID = 2048

// find finds the key that an id, an ARN, an alias or an alias's ARN names.
// Keys of other accounts are found, too: authorising is another's business.
func (c *call) find(ctx context.Context, id string) (*key, error) {
	name, account, ok := c.aliasName(id)
	if !ok {
		return c.findKey(id)
	}
	if name == lambdaAlias && account == c.AccountID {
		return c.s.managedKey(ctx, account)
	}
	a, ok := c.s.aliases.Lookup(tableKey(account, name))
	if !ok {
		return nil, c.unless(account, aliasNotFound(c.s.aliasARN(account, name)))
	}
	k, ok := c.lookup(account, a.Target)
	if !ok {
		return nil, c.unless(account, aliasNotFound(c.s.aliasARN(account, name)))
	}
	return k, nil
}

// findKey is find for operations that take no aliases.
func (c *call) findKey(id string) (*key, error) {
	if id == "" {
		return nil, missing("keyId")
	}
	if len(id) > maxKeyID {
		return nil, constraint("", "keyId", "Member must have length less than or equal to 2048")
	}
	account, uuid := c.AccountID, id
	if strings.HasPrefix(id, "arn:") {
		a, kind, name, ok := c.s.splitARN(id)
		if ok && kind == "alias" {
			return nil, noAlias()
		}
		if !ok || kind != "key" {
			return nil, awserr.New("InvalidArnException", "Invalid arn %s", clip(id))
		}
		account, uuid = a, name
	}
	if strings.HasPrefix(uuid, "alias/") {
		return nil, noAlias()
	}
	if !uuidPattern.MatchString(uuid) {
		return nil, c.unless(account, awserr.New("NotFoundException", "Invalid keyId '%s'", clip(id)))
	}
	k, ok := c.lookup(account, uuid)
	if !ok {
		return nil, c.unless(account, keyNotFound(keyARN(c.s.cfg.Region, account, uuid)))
	}
	return k, nil
}

func noAlias() error {
	return awserr.New("InvalidArnException", "Key Aliases are not supported for this operation.")
}

func (c *call) lookup(account, id string) (*key, bool) {
	k, ok := c.s.keys.Lookup(tableKey(account, id))
	if !ok || k.gone(c.now) {
		return nil, false
	}
	return k, true
}

// unless hides from other accounts what an account has and has not.
func (c *call) unless(account string, err error) error {
	if account == c.AccountID {
		return err
	}
	return denied(c.Identity, c.action, "the key")
}

// aliasName takes an alias or its ARN apart.
func (c *call) aliasName(id string) (name, account string, ok bool) {
	if name, ok = strings.CutPrefix(id, "alias/"); ok {
		return name, c.AccountID, true
	}
	account, kind, name, ok := c.s.splitARN(id)
	return name, account, ok && kind == "alias"
}

// splitARN takes the ARN of a key or an alias of this region apart.
func (s *Service) splitARN(arn string) (account, kind, name string, ok bool) {
	rest, ok := strings.CutPrefix(arn, "arn:aws:kms:"+s.cfg.Region+":")
	if !ok || len(arn) > maxKeyID {
		return "", "", "", false
	}
	account, rest, _ = strings.Cut(rest, ":")
	kind, name, _ = strings.Cut(rest, "/")
	return account, kind, name, accountPattern.MatchString(account) && name != ""
}

func (s *Service) aliasARN(account, name string) string {
	return "arn:aws:kms:" + s.cfg.Region + ":" + account + ":alias/" + name
}
