package iam

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"slices"
	"strings"

	"hearth/internal/awserr"
	"hearth/internal/policy"
	"hearth/internal/webidentity"
)

// WebTokens verifies the tokens of identity providers.
type WebTokens interface {
	// Verify checks a token's signature by its issuer's published keys, its
	// times and its issuer, and returns its claims. Errors tell the caller
	// what is wrong with the token.
	Verify(ctx context.Context, issuer, token string) (claims map[string]any, err error)
}

// assumeWithWebIdentity makes a role's session for whoever has a token of an
// identity provider that the role's account trusts. Nothing of the request is
// signed: all that counts is in the token.
func assumeWithWebIdentity(ctx context.Context, s *Service, c *call) (any, error) {
	if s.cfg.Tokens == nil {
		return nil, awserr.New("NotImplementedException", "This Hearth asks no identity providers. Start it with --web-identity.")
	}
	life, err := c.checkAssume()
	if err != nil {
		return nil, err
	}
	r, ok := s.roleByARN(c.Get("RoleArn"))
	if !ok {
		return nil, notAuthorized()
	}
	token := c.Get("WebIdentityToken")
	issuer := issuerOf(token)
	name, secure := strings.CutPrefix(strings.TrimSuffix(issuer, "/"), "https://")
	p, ok := s.providers.Lookup(key(r.Account, name))
	if !ok || !secure {
		return nil, awserr.New("InvalidIdentityToken", "No OpenIDConnect provider found in your account for %.200s", issuer)
	}
	claims, err := s.cfg.Tokens.Verify(ctx, issuer, token)
	if err != nil {
		return nil, badToken(err)
	}
	audience := audienceOf(claims, p.Clients)
	if audience == "" {
		return nil, awserr.New("InvalidIdentityToken", "Incorrect token audience")
	}
	made := session{Provider: p.arn(), Claims: claimKeys(p.Name, claims, audience)}
	request := s.assumeRequest(c, "sts:AssumeRoleWithWebIdentity", r.arn(), r.Account, &made)
	request.Principal = &policy.Principal{Kind: policy.Federated, ARN: p.arn()}
	for k, v := range made.Claims {
		request.Keys.Set(k, v)
	}
	trust, ok := s.trustOf(r)
	if !ok || s.AuthorizeAnonymous(request, trust) != nil {
		return nil, notAuthorized()
	}
	out, err := s.assume(ctx, c, r, life, made)
	if err != nil {
		return nil, err
	}
	out.SubjectFromWebIdentityToken, out.Provider, out.Audience = made.Claims[p.Name+":sub"], p.arn(), audience
	return out, nil
}

// claimKeys are the condition keys of a token's claims. The audience is that
// which the provider's record lists; the token's own, if it is another, is
// oaud.
func claimKeys(provider string, claims map[string]any, audience string) map[string]string {
	keys := map[string]string{provider + ":aud": audience}
	for _, claim := range []string{"sub", "email", "amr"} {
		if v, ok := claims[claim].(string); ok {
			keys[provider+":"+claim] = v
		}
	}
	if aud, ok := claims["aud"].(string); ok && aud != audience {
		keys[provider+":oaud"] = aud
	}
	return keys
}

// badToken is what a caller is told of a token that was not believed.
func badToken(err error) error {
	switch {
	case errors.Is(err, webidentity.ErrExpired):
		return awserr.New("ExpiredWebIdentityToken", "%s", err.Error())
	case errors.Is(err, webidentity.ErrUnreachable):
		return awserr.New("IDPCommunicationError", "%s", err.Error())
	}
	return awserr.New("InvalidIdentityToken", "%s", err.Error())
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
		if slices.Contains(clients, a) {
			return a
		}
	}
	return ""
}
