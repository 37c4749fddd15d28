package registry

import (
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"net/http"
	"net/netip"
	"strings"

	"hearth/internal/audit"
	"hearth/internal/awserr"
	"hearth/internal/sigv4"
)

// tokenUser is the user name of a login by token, as ECR has it.
const tokenUser = "AWS"

// maxSecret bounds a password; session tokens are the longest part of it.
const maxSecret = 8 << 10

// Token is what stands for an access key: the password of user AWS, and what
// docker's config.json has as "auth". The session token may be empty.
func Token(accessKeyID, secret, session string) string {
	s := accessKeyID + ":" + secret
	if session != "" {
		s += ":" + session
	}
	return base64.StdEncoding.EncodeToString([]byte(s))
}

func unauthorized() *Error {
	return refuse(http.StatusUnauthorized, "UNAUTHORIZED",
		"log in with an access key's id as the user and its secret as the password, or as user AWS with what `hearth registry token` prints")
}

// authenticate finds out who sends a request.
func (s *Server) authenticate(r *http.Request, id string) (*sigv4.Identity, error) {
	key, secret, session, ok := readLogin(r)
	if !ok {
		return nil, unauthorized() // how every client begins
	}
	credential, err := s.cfg.Keys.Secret(r.Context(), key, session)
	// An unknown key is compared as well, with nothing.
	same := subtle.ConstantTimeCompare([]byte(credential.Secret), []byte(secret)) == 1
	var known *awserr.Error
	switch {
	case err == nil && same && credential.Secret != "":
		return &sigv4.Identity{Credential: credential, AccessKeyID: key, Token: session, RequestID: id}, nil
	case err != nil && !errors.Is(err, sigv4.ErrUnknownKey) && !errors.As(err, &known):
		return nil, err
	}
	if s.cfg.Audit != nil {
		s.cfg.Audit(audit.Event{
			Time: s.cfg.Now(), RequestID: id, AccessKey: clip(key), Action: clip(r.Method + " " + r.URL.Path),
			SourceIP: remoteIP(r.RemoteAddr).String(), By: "UNAUTHORIZED",
		})
	}
	return nil, unauthorized()
}

// readLogin reads what a client logs in with.
func readLogin(r *http.Request) (key, secret, session string, ok bool) {
	user, password, ok := r.BasicAuth()
	if !ok || len(password) > maxSecret || len(user) > maxSecret {
		return "", "", "", false
	}
	if user == tokenUser {
		token, err := base64.StdEncoding.DecodeString(strings.TrimSpace(password))
		if err != nil {
			return "", "", "", false
		}
		if user, password, ok = strings.Cut(string(token), ":"); !ok {
			return "", "", "", false
		}
	}
	secret, session, _ = strings.Cut(password, ":")
	return user, secret, session, user != "" && secret != ""
}

// clip cuts words that go to the audit log.
func clip(s string) string { return s[:min(len(s), 128)] }

func remoteIP(address string) netip.Addr {
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		return netip.Addr{}
	}
	return at.Addr().Unmap()
}
