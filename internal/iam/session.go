package iam

import (
	"context"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"
	"time"

	"hearth/internal/awserr"
	"hearth/internal/awsid"
	"hearth/internal/keyring"
	"hearth/internal/policy"
	"hearth/internal/sigv4"
)

const (
	// maxToken bounds a session token: a request's header has 64 KiB.
	maxToken = 16 << 10
	// maxSessions bounds the opened tokens that are kept.
	maxSessions = 8192
	// tokenVersion begins a token, before the account.
	tokenVersion = "h1"
)

// session is what a session token holds, sealed for the access key it came
// with. Names are short: they travel with every request.
type session struct {
	AccessKeyID string `json:"k"`
	Secret      string `json:"s"`
	Account     string `json:"a"`
	// Role is set for a session of a role, User for one of a user; both are
	// empty for one of the root user. ID is the role's or user's.
	Role string `json:"r,omitempty"`
	User string `json:"u,omitempty"`
	ID   string `json:"i,omitempty"`
	Name string `json:"n,omitempty"` // of a role's session
	// Source is the long-lived key that a user's or root's session was made
	// with: it ends with it.
	Source string `json:"o,omitempty"`
	// Chained says that the session was made with another role's.
	Chained bool `json:"c,omitempty"`
	// Transitive are the tags that the sessions made with this one get too.
	Transitive []string `json:"y,omitempty"`
	// Source identity, once set, stays with all sessions that follow.
	SourceIdentity string `json:"d,omitempty"`
	// Provider is the ARN of the identity provider of a web identity's
	// session, and Claims what it said, by their condition keys.
	Provider string            `json:"f,omitempty"`
	Claims   map[string]string `json:"w,omitempty"`
	// Inline and Policies limit the session.
	Inline   string            `json:"p,omitempty"`
	Policies []string          `json:"m,omitempty"`
	Tags     map[string]string `json:"t,omitempty"`
	Issued   time.Time         `json:"b"`
	Expires  time.Time         `json:"x"`
}

// addKeys adds the condition keys that requests of a session have.
func (c *session) addKeys(k *policy.Keys) {
	if c == nil {
		return
	}
	k.SetTime(policy.KeyTokenIssueTime, c.Issued)
	k.SetBool(policy.KeyMFAPresent, false)
	if c.SourceIdentity != "" {
		k.Set("aws:sourceidentity", c.SourceIdentity)
	}
	if c.Provider != "" {
		k.Set(policy.KeyFederatedProvider, c.Provider)
	}
	for name, value := range c.Claims {
		k.Set(name, value)
	}
}

// Credentials are a session's keys.
type Credentials struct {
	AccessKeyID     string
	SecretAccessKey string
	SessionToken    string
	Expiration      time.Time
}

// sessionBinding ties a sealed session to its access key.
func sessionBinding(account, id string) keyring.Binding {
	return keyring.Binding{Account: account, Purpose: "sts session", Record: id}
}

// issue makes a session's keys.
func (s *Service) issue(ctx context.Context, c session, life time.Duration) (Credentials, error) {
	c.AccessKeyID, c.Secret = awsid.AccessKey(awsid.Session)
	c.Issued = s.now()
	c.Expires = c.Issued.Add(life)
	plain, err := json.Marshal(c) //nolint:gosec // it is sealed right away
	if err != nil {
		return Credentials{}, fmt.Errorf("iam: write a session: %w", err)
	}
	sealed, err := s.cfg.Sealer.Seal(ctx, sessionBinding(c.Account, c.AccessKeyID), plain)
	if err != nil {
		return Credentials{}, fmt.Errorf("iam: seal a session: %w", err)
	}
	token := tokenVersion + "." + c.Account + "." + base64.RawURLEncoding.EncodeToString(sealed)
	if len(token) > maxToken {
		return Credentials{}, awserr.New("PackedPolicyTooLarge", "The session's policies and tags are too large for a session token. Pass fewer.")
	}
	return Credentials{AccessKeyID: c.AccessKeyID, SecretAccessKey: c.Secret, SessionToken: token, Expiration: c.Expires}, nil
}

// open reads a session token that came with an access key.
func (s *Service) open(ctx context.Context, id, token string) (*session, error) {
	if c := s.opened.get(token); c != nil {
		if subtle.ConstantTimeCompare([]byte(c.AccessKeyID), []byte(id)) != 1 {
			return nil, sigv4.ErrUnknownKey
		}
		return c, nil
	}
	version, rest, _ := strings.Cut(token, ".")
	account, text, _ := strings.Cut(rest, ".")
	sealed, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil || version != tokenVersion || len(token) > maxToken || !isAccount(account) {
		return nil, sigv4.ErrUnknownKey
	}
	plain, err := s.cfg.Sealer.Open(ctx, sessionBinding(account, id), sealed)
	if errors.Is(err, keyring.ErrRefused) {
		return nil, sigv4.ErrUnknownKey
	}
	if err != nil {
		return nil, fmt.Errorf("iam: open a session: %w", err)
	}
	c := new(session)
	if err := json.Unmarshal(plain, c); err != nil || c.AccessKeyID != id || c.Account != account {
		return nil, sigv4.ErrUnknownKey
	}
	s.opened.put(token, c)
	return c, nil
}

// sessionCredential finds whom a session's keys stand for, and whether they
// still do.
func (s *Service) sessionCredential(ctx context.Context, id, token string) (sigv4.Credential, error) {
	c, err := s.open(ctx, id, token)
	if err != nil {
		return sigv4.Credential{}, err
	}
	if !s.cfg.Clock().Before(c.Expires) {
		return sigv4.Credential{}, awserr.New("ExpiredTokenException", "The security token included in the request is expired")
	}
	p, ok := s.sessionPrincipal(c)
	if !ok {
		return sigv4.Credential{}, sigv4.ErrUnknownKey
	}
	return sigv4.Credential{
		AccountID: c.Account, Secret: c.Secret, PrincipalARN: p.ARN, UserID: p.ID, Temporary: true,
		Session: &identity{Principal: p, session: c},
	}, nil
}

// sessionPrincipal is who a session is; not ok if what it was made of is gone.
func (s *Service) sessionPrincipal(c *session) (policy.Principal, bool) {
	switch {
	case c.Role != "":
		r, ok := s.roleNamed(c.Account, c.Role)
		if !ok || r.ID != c.ID {
			return policy.Principal{}, false
		}
		return policy.Principal{
			Kind: policy.RoleSession, Account: c.Account,
			ARN:    "arn:aws:sts::" + c.Account + ":assumed-role/" + r.Name + "/" + c.Name,
			Issuer: r.arn(), ID: r.ID + ":" + c.Name, Tags: tagsOf(overlaid(r.Tags, c.Tags)),
		}, true
	case !s.keyActive(c.Source):
		return policy.Principal{}, false
	case c.User != "":
		u, ok := s.userNamed(c.Account, c.User)
		if !ok || u.ID != c.ID {
			return policy.Principal{}, false
		}
		return userPrincipal(u), true
	}
	return policy.Principal{Kind: policy.RootUser, Account: c.Account, ARN: "arn:aws:iam::" + c.Account + ":root", ID: c.Account}, true
}

// overlaid is a role's tags with those of a session, which hide the role's of
// the same key in whatever case.
func overlaid(role, session map[string]string) map[string]string {
	if len(session) == 0 {
		return role
	}
	all := maps.Clone(session)
	for k, v := range role {
		if !hasFold(session, k) {
			all[k] = v
		}
	}
	return all
}

func hasFold(tags map[string]string, key string) bool {
	for k := range tags {
		if strings.EqualFold(k, key) {
			return true
		}
	}
	return false
}

// keyActive says whether a long-lived key can still be used.
func (s *Service) keyActive(id string) bool {
	if id == s.cfg.Root.AccessKeyID {
		return true
	}
	_, err := s.Secret(context.Background(), id, "")
	return err == nil
}

func isAccount(text string) bool {
	return len(text) == 12 && strings.Trim(text, "0123456789") == ""
}

// sessionCache keeps opened tokens.
type sessionCache struct {
	mu  sync.RWMutex
	all map[string]*session
}

func (c *sessionCache) get(token string) *session {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.all[token]
}

func (c *sessionCache) put(token string, s *session) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.all == nil || len(c.all) >= maxSessions {
		c.all = make(map[string]*session)
	}
	c.all[token] = s
}
