package iam

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"hearth/internal/awsid"
	"hearth/internal/keyring"
	"hearth/internal/policy"
	"hearth/internal/sigv4"
	"hearth/internal/table"
)

// identity is who a request comes from, as this service keeps it in
// sigv4.Credential.Session.
type identity struct {
	policy.Principal

	// session is set for a request with session keys.
	session *session
}

// Secret implements sigv4.Keys: it finds whom an access key stands for.
func (s *Service) Secret(ctx context.Context, id, token string) (sigv4.Credential, error) {
	if token != "" {
		return s.sessionCredential(ctx, id, token)
	}
	if id == s.cfg.Root.AccessKeyID {
		return rootCredential(s.cfg.Root.Account, s.cfg.Root.Secret), nil
	}
	owner, ok := s.keys.Load(id)
	if !ok {
		return sigv4.Credential{}, sigv4.ErrUnknownKey
	}
	k := owner.(table.Key)
	if a, ok := s.accounts.Lookup(k); ok && a.Root.ID == id {
		secret, err := s.openSecret(ctx, a.ID, &a.Root)
		return rootCredential(a.ID, secret), err
	}
	u, ok := s.users.Lookup(k)
	if !ok {
		return sigv4.Credential{}, sigv4.ErrUnknownKey
	}
	for i := range u.Keys {
		if u.Keys[i].ID != id {
			continue
		}
		if !u.Keys[i].Active {
			return sigv4.Credential{}, sigv4.ErrUnknownKey
		}
		secret, err := s.openSecret(ctx, u.Account, &u.Keys[i])
		if err != nil {
			return sigv4.Credential{}, err
		}
		return sigv4.Credential{
			AccountID: u.Account, Secret: secret, PrincipalARN: u.arn(), UserID: u.ID,
			Session: &identity{Principal: userPrincipal(u)},
		}, nil
	}
	return sigv4.Credential{}, sigv4.ErrUnknownKey
}

func rootCredential(account, secret string) sigv4.Credential {
	p := policy.Principal{Kind: policy.RootUser, Account: account, ARN: "arn:aws:iam::" + account + ":root", ID: account}
	return sigv4.Credential{AccountID: account, Secret: secret, PrincipalARN: p.ARN, UserID: account, Session: &identity{Principal: p}}
}

func userPrincipal(u *user) policy.Principal {
	return policy.Principal{Kind: policy.User, Account: u.Account, ARN: u.arn(), ID: u.ID, Name: u.Name, Tags: tagsOf(u.Tags)}
}

func tagsOf(tags map[string]string) []policy.Tag {
	var list []policy.Tag
	for _, k := range slices.Sorted(maps.Keys(tags)) {
		list = append(list, policy.Tag{Key: k, Value: tags[k]})
	}
	return list
}

// keyBinding ties a sealed secret to its access key.
func keyBinding(account, id string) keyring.Binding {
	return keyring.Binding{Account: account, Purpose: "iam access key", Record: id}
}

func (s *Service) openSecret(ctx context.Context, account string, k *accessKey) (string, error) {
	if secret, ok := s.secrets.Load(k.ID); ok {
		return secret.(string), nil
	}
	plain, err := s.cfg.Sealer.Open(ctx, keyBinding(account, k.ID), k.Secret)
	if err != nil {
		return "", fmt.Errorf("iam: open the secret of access key %s: %w", k.ID, err)
	}
	s.secrets.Store(k.ID, string(plain))
	return string(plain), nil
}

// newKey makes an access key; its secret is returned and not kept.
func (s *Service) newKey(ctx context.Context, account string) (k accessKey, secret string, err error) {
	k = accessKey{Active: true, Created: s.now()}
	k.ID, secret = awsid.AccessKey(awsid.LongLived)
	if k.Secret, err = s.cfg.Sealer.Seal(ctx, keyBinding(account, k.ID), []byte(secret)); err != nil {
		return k, "", fmt.Errorf("iam: seal a secret: %w", err)
	}
	return k, secret, nil
}

// errNoIdentity says that a request was not authenticated by this service.
var errNoIdentity = errors.New("iam: the request was not authenticated here")

// identityOf returns who a verified request comes from.
func identityOf(caller *sigv4.Identity) (*identity, error) {
	if id, ok := caller.Session.(*identity); ok {
		return id, nil
	}
	return nil, errNoIdentity
}
