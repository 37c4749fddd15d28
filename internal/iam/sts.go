package iam

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"regexp"
	"strconv"
	"strings"
	"time"

	"hearth/internal/awserr"
	"hearth/internal/policy"
)

var stsOperations = map[string]operation{
	"GetCallerIdentity":         {serve: getCallerIdentity, open: true},
	"GetSessionToken":           {serve: getSessionToken, open: true},
	"AssumeRole":                {serve: assumeRole, open: true},
	"AssumeRoleWithWebIdentity": {serve: assumeWithWebIdentity, open: true},
	"GetAccessKeyInfo":          {serve: getAccessKeyInfo},
}

const (
	minAssumed  = 15 * time.Minute
	maxChained  = time.Hour
	minOwn      = 15 * time.Minute
	maxOwn      = 36 * time.Hour
	maxRootOwn  = time.Hour
	ownDefault  = 12 * time.Hour
	maxPolicies = 10
)

var sessionName = regexp.MustCompile(`^[\w+=,.@-]{2,64}$`)

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
	life, err := c.duration(fallback, minOwn, maxOwn)
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
func (c *call) duration(fallback, shortest, longest time.Duration) (time.Duration, error) {
	v := c.Get("DurationSeconds")
	if v == "" {
		return min(fallback, longest), nil
	}
	n, err := strconv.Atoi(v)
	if err != nil || n < int(shortest.Seconds()) || n > int(longest.Seconds()) {
		return 0, invalid("The requested DurationSeconds exceeds the MaxSessionDuration set for this role, or is not between %d and %d.",
			int(shortest.Seconds()), int(longest.Seconds()))
	}
	return time.Duration(n) * time.Second, nil
}

type assumedUser struct {
	AssumedRoleID string `json:"AssumedRoleId" xml:"AssumedRoleId"`
	Arn           string
}

type assumeResult struct {
	SubjectFromWebIdentityToken string `json:"SubjectFromWebIdentityToken,omitempty" xml:"SubjectFromWebIdentityToken,omitempty"`
	AssumedRoleUser             assumedUser
	Credentials                 xmlCredentials
	Provider                    string `json:"Provider,omitempty" xml:"Provider,omitempty"`
	Audience                    string `json:"Audience,omitempty" xml:"Audience,omitempty"`
}

func assumeRole(ctx context.Context, s *Service, c *call) (any, error) {
	id, err := c.identity()
	if err != nil {
		return nil, err
	}
	arn := c.Get("RoleArn")
	if id.Kind == policy.RootUser {
		return nil, awserr.New("AccessDenied", "Roles may not be assumed by root accounts.")
	}
	r, ok := s.roleByARN(arn)
	owner, _, _, valid := parseARN(arn)
	if !valid {
		return nil, invalid("%.200s is invalid", arn)
	}
	request := c.request("sts:AssumeRole", arn, owner)
	request.Keys.Time = s.cfg.Clock()
	request.Keys.Set("sts:RoleSessionName", c.Get("RoleSessionName"))
	if v := c.Get("ExternalId"); v != "" {
		request.Keys.Set("sts:ExternalId", v)
	}
	var trust *policy.Document
	if ok {
		trust, _ = policy.Parse(policy.KindTrust, arn, []byte(r.Trust)) // one that cannot be read lets nobody in
	}
	// Who may not is told the same of a role that is there and one that is not.
	if trust == nil {
		s.audit(c.Caller, withPrincipal(request, id), policy.Decision{})
		return nil, awserr.New("AccessDenied", "User: %s is not authorized to perform: sts:AssumeRole on resource: %.200s", id.ARN, arn)
	}
	if err := s.Authorize(ctx, c.Caller, request, trust); err != nil {
		return nil, queryDenied(err)
	}
	longest := time.Duration(r.MaxSession) * time.Second
	chained := id.Kind == policy.RoleSession
	if chained {
		longest = min(longest, maxChained)
	}
	return s.assume(ctx, c, r, longest, session{Chained: chained})
}

func withPrincipal(r *policy.Request, id *identity) *policy.Request {
	r.Principal = &id.Principal
	return r
}

// assume makes the session of a role that the caller may assume.
func (s *Service) assume(ctx context.Context, c *call, r *role, longest time.Duration, made session) (*assumeResult, error) {
	name := c.Get("RoleSessionName")
	if !sessionName.MatchString(name) {
		return nil, invalid("1 validation error detected: Value '%.64s' at 'roleSessionName' failed to satisfy constraint: "+
			"Member must satisfy regular expression pattern: [\\w+=,.@-]*", name)
	}
	life, err := c.duration(time.Hour, minAssumed, longest)
	if err != nil {
		return nil, err
	}
	made.Account, made.Role, made.ID, made.Name = r.Account, r.Name, r.ID, name
	if made.Inline, made.Policies, err = s.sessionPolicies(c, r.Account); err != nil {
		return nil, err
	}
	made.Tags = c.tags()
	if err := checkTags(made.Tags); err != nil {
		return nil, err
	}
	keys, err := s.issue(ctx, made, life)
	if err != nil {
		return nil, err
	}
	return &assumeResult{
		AssumedRoleUser: assumedUser{r.ID + ":" + name, "arn:aws:sts::" + r.Account + ":assumed-role/" + r.Name + "/" + name},
		Credentials:     shownCredentials(keys),
	}, nil
}

// sessionPolicies reads what limits a session.
func (s *Service) sessionPolicies(c *call, account string) (inline string, arns []string, err error) {
	if text := c.Get("Policy"); text != "" {
		if inline, err = document(policy.KindSession, text, policy.QuotaSession); err != nil {
			return "", nil, err
		}
	}
	for i := 1; ; i++ {
		arn := c.Get("PolicyArns.member." + strconv.Itoa(i) + ".arn")
		if arn == "" {
			return inline, arns, nil
		}
		if _, ok := s.managedByARN(arn); !ok || !ownOrAWS(arn, account) {
			return "", nil, noManaged(arn)
		}
		if arns = append(arns, arn); len(arns) > maxPolicies {
			return "", nil, awserr.New("PackedPolicyTooLarge", "At most %d managed policies can be passed.", maxPolicies)
		}
	}
}

// WebTokens verifies the tokens of identity providers.
type WebTokens interface {
	// Verify checks a token's signature by its issuer's published keys, its
	// times and its issuer, and returns its claims. Errors tell the caller
	// what is wrong with the token.
	Verify(ctx context.Context, issuer, token string) (claims map[string]any, err error)
}

func assumeWithWebIdentity(ctx context.Context, s *Service, c *call) (any, error) {
	if s.cfg.Tokens == nil {
		return nil, awserr.New("NotImplementedException", "This Hearth asks no identity provider. Start it with --web-identity.")
	}
	r, ok := s.roleByARN(c.Get("RoleArn"))
	if !ok {
		return nil, notAuthorized()
	}
	token := c.Get("WebIdentityToken")
	issuer := issuerOf(token)
	p, ok := s.providers.Lookup(key(r.Account, strings.TrimPrefix(issuer, "https://")))
	if !ok || !strings.HasPrefix(issuer, "https://") {
		return nil, awserr.New("InvalidIdentityToken", "No OpenIDConnect provider found in your account for %.200s", issuer)
	}
	claims, err := s.cfg.Tokens.Verify(ctx, issuer, token)
	if err != nil {
		return nil, awserr.New("InvalidIdentityToken", "%s", err.Error())
	}
	audience := audienceOf(claims, p.Clients)
	if audience == "" {
		return nil, awserr.New("InvalidIdentityToken", "Incorrect token audience")
	}
	subject, _ := claims["sub"].(string)
	request := c.request("sts:AssumeRoleWithWebIdentity", r.arn(), r.Account)
	request.Keys.Time = s.cfg.Clock()
	request.Principal = &policy.Principal{Kind: policy.Federated, ARN: p.arn()}
	request.Keys.Set(p.Name+":aud", audience)
	request.Keys.Set(p.Name+":sub", subject)
	for _, claim := range []string{"amr", "oaud", "email"} {
		if v, ok := claims[claim].(string); ok {
			request.Keys.Set(p.Name+":"+claim, v)
		}
	}
	trust, err := policy.Parse(policy.KindTrust, r.arn(), []byte(r.Trust))
	if err != nil {
		return nil, notAuthorized()
	}
	if err := s.AuthorizeAnonymous(request, trust); err != nil {
		return nil, notAuthorized()
	}
	out, err := s.assume(ctx, c, r, time.Duration(r.MaxSession)*time.Second, session{})
	if err != nil {
		return nil, err
	}
	out.SubjectFromWebIdentityToken, out.Provider, out.Audience = subject, p.arn(), audience
	return out, nil
}

func notAuthorized() error {
	return awserr.New("AccessDenied", "Not authorized to perform sts:AssumeRoleWithWebIdentity")
}

// issuerOf reads a token's issuer before anything of it is believed: it only
// says whose keys to verify it with.
func issuerOf(token string) string {
	parts := strings.Split(token, ".")
	if len(parts) != 3 || len(token) > maxToken {
		return ""
	}
	body, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return ""
	}
	var claims struct {
		Issuer string `json:"iss"`
	}
	if json.Unmarshal(body, &claims) != nil {
		return ""
	}
	return claims.Issuer
}

// audienceOf is the audience of a token that the provider's record lists. A
// token for several names the one it was issued to in azp.
func audienceOf(claims map[string]any, clients []string) string {
	var audiences []string
	switch aud := claims["aud"].(type) {
	case string:
		audiences = []string{aud}
	case []any:
		for _, a := range aud {
			if text, ok := a.(string); ok {
				audiences = append(audiences, text)
			}
		}
	}
	if azp, ok := claims["azp"].(string); ok {
		audiences = []string{azp}
	}
	for _, a := range audiences {
		for _, client := range clients {
			if a == client {
				return a
			}
		}
	}
	return ""
}

type keyInfoResult struct{ Account string }

func getAccessKeyInfo(ctx context.Context, s *Service, c *call) (any, error) {
	credential, err := s.Secret(ctx, c.Get("AccessKeyId"), "")
	if err != nil {
		return nil, invalid("Invalid Access Key Id")
	}
	return &keyInfoResult{credential.AccountID}, nil
}
