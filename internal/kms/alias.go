package kms

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"hearth/internal/awserr"
	"hearth/internal/table"
)

// maxAliases is AWS's quota of aliases of a key.
const maxAliases = 50

// alias is the record of an alias.
type alias struct {
	Account string    `json:"account"`
	Name    string    `json:"name"` // without the alias/ that it begins with
	Target  string    `json:"target"`
	Created time.Time `json:"created"`
	Updated time.Time `json:"updated"`
}

func checkAlias(at table.Key, a *alias) error {
	if a.Account != at.Account || a.Name != at.Name {
		return fmt.Errorf("it is the record of alias %.100q in account %.20q", a.Name, a.Account)
	}
	if !uuidPattern.MatchString(a.Target) {
		return errors.New("its target is not a key")
	}
	return nil
}

var aliasPattern = regexp.MustCompile(`^alias/[a-zA-Z0-9/_-]+$`)

type aliasInput struct {
	AliasName   string `json:"AliasName"`
	TargetKeyID string `json:"TargetKeyId"`
}

// check returns the alias's name without its prefix.
func (in *aliasInput) check() (string, error) {
	name, ok := strings.CutPrefix(in.AliasName, "alias/")
	switch {
	case in.AliasName == "":
		return "", missing("aliasName")
	case len(in.AliasName) > 256:
		return "", constraint(in.AliasName, "aliasName", "Member must have length less than or equal to 256")
	case !ok:
		return "", badValue("Invalid identifier")
	case !aliasPattern.MatchString(in.AliasName):
		return "", constraint(in.AliasName, "aliasName", "Member must satisfy regular expression pattern: ^[a-zA-Z0-9:/_-]+$")
	case strings.HasPrefix(name, "aws/"):
		return "", awserr.New("NotAuthorizedException", "Aliases that begin with alias/aws/ are AWS's own.")
	}
	return name, nil
}

// target finds the key of one's own that an alias is to name.
func (in *aliasInput) target(c *call) (*key, error) {
	if in.TargetKeyID == "" {
		return nil, missing("targetKeyId")
	}
	if strings.HasPrefix(in.TargetKeyID, "alias/") {
		return nil, badValue("Aliases must refer to keys. Not aliases")
	}
	k, err := c.findKey(in.TargetKeyID)
	if err != nil {
		return nil, err
	}
	if k.Account != c.AccountID || k.Manager == managedByAWS {
		return nil, denied(c.Identity, c.action, k.arn())
	}
	return k, mustStay(k)
}

func (c *call) onAlias(name string) Access {
	a := c.onAccount()
	a.Resource = c.s.aliasARN(c.AccountID, name)
	return a
}

func createAlias(_ context.Context, c *call, in *aliasInput) (*request, error) {
	name, err := in.check()
	if err != nil {
		return nil, err
	}
	k, err := in.target(c)
	if err != nil {
		return nil, err
	}
	return &request{access: []Access{c.onAlias(name), c.on(k, nil)}, run: func(ctx context.Context) (any, error) {
		if len(c.s.aliasesOf(k)) >= maxAliases {
			return nil, awserr.New("LimitExceededException", "%s has %d aliases, which is the most.", k.arn(), maxAliases)
		}
		_, err := c.s.aliases.Change(ctx, tableKey(c.AccountID, name), func(now *alias) (*alias, error) {
			if now != nil {
				return nil, awserr.New("AlreadyExistsException", "An alias with the name %s already exists", c.s.aliasARN(c.AccountID, name))
			}
			return &alias{Account: c.AccountID, Name: name, Target: k.ID, Created: c.now, Updated: c.now}, nil
		})
		return nil, storeError(err)
	}}, nil
}

func updateAlias(_ context.Context, c *call, in *aliasInput) (*request, error) {
	name, err := in.check()
	if err != nil {
		return nil, err
	}
	k, err := in.target(c)
	if err != nil {
		return nil, err
	}
	before, ok := c.s.aliases.Lookup(tableKey(c.AccountID, name))
	if !ok {
		return nil, aliasNotFound(c.s.aliasARN(c.AccountID, name))
	}
	access := []Access{c.onAlias(name), c.on(k, nil)}
	if old, ok := c.lookup(c.AccountID, before.Target); ok {
		access = append(access, c.on(old, nil))
	}
	return &request{access: access, run: func(ctx context.Context) (any, error) {
		_, err := c.s.aliases.Change(ctx, tableKey(c.AccountID, name), func(now *alias) (*alias, error) {
			if now == nil || now.Target != before.Target { // what was authorised is not there any more
				return nil, aliasNotFound(c.s.aliasARN(c.AccountID, name))
			}
			next := *now
			next.Target, next.Updated = k.ID, c.now
			return &next, nil
		})
		return nil, storeError(err)
	}}, nil
}

func deleteAlias(_ context.Context, c *call, in *aliasInput) (*request, error) {
	name, err := in.check()
	if err != nil {
		return nil, err
	}
	before, ok := c.s.aliases.Lookup(tableKey(c.AccountID, name))
	if !ok {
		return nil, aliasNotFound(c.s.aliasARN(c.AccountID, name))
	}
	access := []Access{c.onAlias(name)}
	if k, ok := c.lookup(c.AccountID, before.Target); ok {
		access = append(access, c.on(k, nil))
	}
	return &request{access: access, run: func(ctx context.Context) (any, error) {
		_, err := c.s.aliases.Change(ctx, tableKey(c.AccountID, name), func(now *alias) (*alias, error) {
			if now == nil || now.Target != before.Target {
				return nil, aliasNotFound(c.s.aliasARN(c.AccountID, name))
			}
			return nil, nil
		})
		return nil, storeError(err)
	}}, nil
}

type listAliasesInput struct {
	listInput
	KeyID string `json:"KeyId"`
}

func listAliases(_ context.Context, c *call, in *listAliasesInput) (*request, error) {
	const most, usual = 100, 50
	p, err := in.page(most, usual)
	if err != nil {
		return nil, err
	}
	target := ""
	if in.KeyID != "" {
		k, err := c.findKey(in.KeyID)
		if err != nil {
			return nil, err
		}
		if k.Account != c.AccountID {
			return nil, denied(c.Identity, c.action, k.arn())
		}
		target = k.ID
	}
	type entry struct {
		Name    string `json:"AliasName"`
		ARN     string `json:"AliasArn"`
		Target  string `json:"TargetKeyId"`
		Created epoch  `json:"CreationDate"`
		Updated epoch  `json:"LastUpdatedDate"`
	}
	return &request{access: []Access{c.onAccount()}, run: func(context.Context) (any, error) {
		list := []entry{}
		next := ""
		for after := p.after; ; {
			some := c.s.aliases.List(c.AccountID, "", after, maxPage)
			for _, a := range some {
				after = a.Name
				if target != "" && a.Target != target {
					continue
				}
				if len(list) == p.limit {
					next = strings.TrimPrefix(list[len(list)-1].Name, "alias/")
					break
				}
				list = append(list, entry{"alias/" + a.Name, c.s.aliasARN(a.Account, a.Name), a.Target, epoch(a.Created), epoch(a.Updated)})
			}
			if next != "" || len(some) < maxPage {
				break
			}
		}
		return struct {
			Aliases []entry `json:"Aliases"`
			pageAnswer
		}{list, answerPage(next)}, nil
	}}, nil
}

// aliasesOf lists a key's aliases.
func (s *Service) aliasesOf(k *key) []*alias {
	var list []*alias
	for after := ""; ; {
		some := s.aliases.List(k.Account, "", after, maxPage)
		for _, a := range some {
			after = a.Name
			if a.Target == k.ID {
				list = append(list, a)
			}
		}
		if len(some) < maxPage {
			return list
		}
	}
}

// requestAlias is the condition key of the alias that a request names its key
// by.
func (c *call) requestAlias(id string) map[string]string {
	name, _, ok := c.aliasName(id)
	if !ok {
		return nil
	}
	return map[string]string{"kms:RequestAlias": "alias/" + name}
}
