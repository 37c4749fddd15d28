package iam

import (
	"context"
	"regexp"
	"time"

	"hearth/internal/awserr"
	"hearth/internal/awsid"
	"hearth/internal/awsquery"
	"hearth/internal/policy"
	"hearth/internal/sigv4"
)

// AWS makes accounts elsewhere than in IAM. The operations with Hearth in their
// names are its own, and only the root user of the first account, who is the
// operator, has them.
var accountOperations = map[string]operation{
	"HearthCreateAccount": {serve: createAccount, open: true},
	"HearthListAccounts":  {serve: listAccounts, open: true},
	"GetAccountSummary":   {serve: getAccountSummary},
}

var accountName = regexp.MustCompile(`^[\x20-\x7e]{1,50}$`)

// Account is an account of this Hearth.
type Account struct {
	ID      string
	Name    string
	Created time.Time
}

// RootKey is the access key of an account's root user.
type RootKey struct{ AccessKeyID, SecretAccessKey string }

// CreateAccount makes an account with a root user and its default role. The
// secret is not shown again.
func (s *Service) CreateAccount(ctx context.Context, name string) (Account, RootKey, error) {
	if !accountName.MatchString(name) {
		return Account{}, RootKey{}, awserr.New("InvalidInput", "An account's name has 1 to 50 printable ASCII characters.")
	}
	id := awsid.Account()
	for s.hasAccount(id) {
		id = awsid.Account()
	}
	k, secret, err := s.newKey(ctx, id)
	if err != nil {
		return Account{}, RootKey{}, err
	}
	made := &account{ID: id, Name: name, Created: s.now(), Root: k}
	_, err = s.accounts.Change(ctx, key(id, accountRecord), func(now *account) (*account, error) {
		if now != nil {
			return nil, awserr.New("ConcurrentModification", "Another account got the same number. Submit the request again.")
		}
		return made, nil
	})
	if err != nil {
		return Account{}, RootKey{}, err
	}
	return Account{ID: id, Name: name, Created: made.Created}, RootKey{k.ID, secret}, s.makeDefaultRole(ctx, id)
}

func (s *Service) hasAccount(id string) bool {
	_, ok := s.accounts.Lookup(key(id, accountRecord))
	return ok || id == s.cfg.Root.Account
}

// Accounts returns all accounts, the first one first.
func (s *Service) Accounts() []Account {
	all := []Account{{ID: s.cfg.Root.Account, Name: "root"}}
	for _, a := range s.accounts.All() {
		all = append(all, Account{ID: a.ID, Name: a.Name, Created: a.Created})
	}
	return all
}

// operator refuses everybody but the operator.
func (s *Service) operator(c *call, action string) error {
	id, err := c.identity()
	if err != nil {
		return err
	}
	r := &policy.Request{Action: "hearth:" + action, Resource: "*"}
	r.Keys.SourceIP = c.SourceIP
	if !s.isOperator(c.Caller, id, r) {
		return awserr.New("AccessDenied", notOperator, id.ARN, r.Action, s.cfg.Root.Account)
	}
	return nil
}

const notOperator = "User: %s is not authorized to perform: %s. Only the root user of account %s is."

// isOperator decides on a request that only the operator may make.
func (s *Service) isOperator(caller *sigv4.Identity, id *identity, r *policy.Request) bool {
	r.Principal, r.ResourceAccount = &id.Principal, s.cfg.Root.Account
	d := policy.Decision{Allowed: id.Kind == policy.RootUser && id.Account == s.cfg.Root.Account && id.session == nil, Missing: policy.KindIdentity}
	s.audit(caller, r, d)
	return d.Allowed
}

// AuthorizeOperator refuses everybody but the operator, the root user of the
// first account.
func (s *Service) AuthorizeOperator(caller *sigv4.Identity, r *policy.Request) error {
	id, err := identityOf(caller)
	if err != nil {
		return err
	}
	if !s.isOperator(caller, id, r) {
		return awserr.New("AccessDeniedException", notOperator, id.ARN, r.Action, s.cfg.Root.Account)
	}
	return nil
}

type xmlAccount struct{ AccountID, AccountName, CreateDate string }

type accountResult struct {
	Account xmlAccount
	RootKey RootKey
}

func createAccount(ctx context.Context, s *Service, c *call) (any, error) {
	if err := s.operator(c, "CreateAccount"); err != nil {
		return nil, err
	}
	a, k, err := s.CreateAccount(ctx, c.Get("AccountName"))
	if err != nil {
		return nil, err
	}
	return &accountResult{xmlAccount{a.ID, a.Name, date(a.Created)}, k}, nil
}

type accountsResult struct {
	Accounts awsquery.List[xmlAccount]
	paging
}

func listAccounts(_ context.Context, s *Service, c *call) (any, error) {
	if err := s.operator(c, "ListAccounts"); err != nil {
		return nil, err
	}
	all, end, err := cut(c, s.Accounts())
	out := &accountsResult{paging: end}
	for _, a := range all {
		shown := xmlAccount{AccountID: a.ID, AccountName: a.Name}
		if !a.Created.IsZero() {
			shown.CreateDate = date(a.Created)
		}
		out.Accounts = append(out.Accounts, shown)
	}
	return out, err
}

// getAccountSummary answers with what Hearth has of it.
func getAccountSummary(_ context.Context, s *Service, c *call) (any, error) {
	account := c.account()
	return awsquery.Fields{{Name: "SummaryMap", Value: awsquery.Map{
		{Key: "Users", Value: len(s.users.List(account, "", "", everything))},
		{Key: "Roles", Value: len(s.roles.List(account, "", "", everything))},
		{Key: "Policies", Value: len(s.policies.List(account, "", "", everything))},
		{Key: "Providers", Value: len(s.providers.List(account, "", "", everything))},
		{Key: "Groups", Value: 0},
		{Key: "MFADevices", Value: 0},
		{Key: "AccountMFAEnabled", Value: 0},
		{Key: "AccountAccessKeysPresent", Value: 1},
		{Key: "AccessKeysPerUserQuota", Value: maxKeys},
		{Key: "AttachedPoliciesPerUserQuota", Value: maxAttached},
		{Key: "AttachedPoliciesPerRoleQuota", Value: maxAttached},
		{Key: "VersionsPerPolicyQuota", Value: maxVersions},
		{Key: "PolicySizeQuota", Value: policy.QuotaManaged},
		{Key: "UserPolicySizeQuota", Value: policy.QuotaInlineUser},
		{Key: "RolePolicySizeQuota", Value: policy.QuotaInlineRole},
		{Key: "AssumeRolePolicySizeQuota", Value: policy.QuotaTrust},
	}}}, nil
}
