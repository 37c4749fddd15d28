package iam

import (
	"context"
	"regexp"
	"strconv"
	"time"

	"hearth/internal/awserr"
	"hearth/internal/policy"
	"hearth/internal/table"
)

var stsOperations = map[string]operation{
	"GetCallerIdentity":         {serve: getCallerIdentity, open: true},
	"GetSessionToken":           {serve: getSessionToken, open: true},
	"AssumeRole":                {serve: assumeRole, open: true},
	"AssumeRoleWithWebIdentity": {serve: assumeWithWebIdentity, open: true},
	"GetAccessKeyInfo":          {serve: getAccessKeyInfo},
}

const (
	minLife     = 15 * time.Minute // of any session
	maxAssumed  = maxSession * time.Second
	maxChained  = time.Hour
	maxOwn      = 36 * time.Hour
	maxRootOwn  = time.Hour
	ownDefault  = 12 * time.Hour
	maxPolicies = 10
)

// sessionName is the form of RoleSessionName and SourceIdentity.
var (
	sessionName = regexp.MustCompile(`^[\w+=,.@-]{2,64}$`)
	externalID  = regexp.MustCompile(`^[\w+=,.@:/-]{2,}$`)
)

type callerResult struct {
	Arn     string
	UserID  string `json:"UserId" xml:"UserId"`
	Account string
}

// getCallerIdentity needs no permission; not even an explicit deny keeps a
// caller from asking.
func getCallerIdentity(_ context.Context, _ *Service, c *call) (any, error) {
	if c.Caller == nil {
		return nil, awserr.New("MissingAuthenticationTokenException", "Missing Authentication Token")
	}
	return &callerResult{c.Caller.PrincipalARN, c.Caller.UserID, c.Caller.AccountID}, nil
}

type xmlCredentials struct {
	AccessKeyID     string `json:"AccessKeyId" xml:"AccessKeyId"`
	SecretAccessKey string
	SessionToken    string
	Expiration      string
}

func shownCredentials(c Credentials) xmlCredentials {
	return xmlCredentials{c.AccessKeyID, c.SecretAccessKey, c.SessionToken, date(c.Expiration)}
}

type credentialsResult struct{ Credentials xmlCredentials }

// getSessionToken gives a user, or the root user, session keys.
func getSessionToken(ctx context.Context, s *Service, c *call) (any, error) {
	id, err := c.identity()
	if err != nil {
		return nil, err
	}
	if id.session != nil {
		return nil, awserr.New("AccessDenied", "Cannot call GetSessionToken with session credentials")
	}
	longest, fallback := maxOwn, ownDefault
	if id.Kind == policy.RootUser {
		longest, fallback = maxRootOwn, maxRootOwn
	}
	life, err := c.duration(fallback, maxOwn)
	if err != nil {
		return nil, err
	}
	own := session{Account: id.Account, Source: c.Caller.AccessKeyID}
	if id.Kind == policy.User {
		own.User, own.ID = id.Name, id.ID
	}
	keys, err := s.issue(ctx, own, min(life, longest))
	if err != nil {
		return nil, err
	}
	return &credentialsResult{shownCredentials(keys)}, nil
}

func (c *call) identity() (*identity, error) {
	if c.Caller == nil {
		return nil, awserr.New("MissingAuthenticationTokenException", "Missing Authentication Token")
	}
	return identityOf(c.Caller)
}

// duration reads DurationSeconds.
func (c *call) duration(fallback, longest time.Duration) (time.Duration, error) {
	v := c.Get("DurationSeconds")
	if v == "" {
		return fallback, nil
	}
	n, err := strconv.Atoi(v)
	switch {
	case err != nil || n < int(minLife.Seconds()):
		return 0, outOfRange(v, "durationSeconds", "greater", int(minLife.Seconds()))
	case n > int(longest.Seconds()):
		return 0, outOfRange(v, "durationSeconds", "less", int(longest.Seconds()))
	}
	return time.Duration(n) * time.Second, nil
}

type keyInfoResult struct{ Account string }

func getAccessKeyInfo(_ context.Context, s *Service, c *call) (any, error) {
	id := c.Get("AccessKeyId")
	if id == s.cfg.Root.AccessKeyID {
		return &keyInfoResult{s.cfg.Root.Account}, nil
	}
	owner, ok := s.keys.Load(id)
	if !ok {
		return nil, invalid("Invalid Access Key Id %.64s", id)
	}
	return &keyInfoResult{owner.(table.Key).Account}, nil
}
