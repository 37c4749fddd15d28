package ociimage

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
)

func TestReferences(t *testing.T) {
	r, err := NewResolver(Options{})
	if err != nil {
		t.Fatal(err)
	}
	digest := "sha256:" + strings.Repeat("a", 64)
	for reference, want := range map[string]string{
		"docker.io/library/debian:12":       "index.docker.io/library/debian:12",
		"public.ecr.aws/lambda/python:3.12": "public.ecr.aws/lambda/python:3.12",
		"r.example/a":                       "r.example/a:latest",
		"r.example:5000/a/b@" + digest:      "r.example:5000/a/b@" + digest,
		"r.example/a:v1@" + digest:          "r.example/a@" + digest,
		"localhost/a:b":                     "localhost/a:b",
		"111111111111.dkr.ecr.us-east-1.amazonaws.com/team/app:v1": "111111111111.dkr.ecr.us-east-1.amazonaws.com/team/app:v1",
		"":                         "",
		"debian":                   "",
		"library/debian:12":        "",
		"https://r.example/a:b":    "",
		"r.example/A:b":            "",
		"r.example/a:b c":          "",
		"r.example/../a:b":         "",
		"r.example/a:..":           "",
		"r.example/a:.b":           "",
		"r.ex\x8emple/a:b":         "",
		"r.example:99999999/a:b":   "",
		"[::1]:5000/a:b":           "[::1]:5000/a:b",
		"user@r.example/a:b":       "",
		"r.example/a@sha256:short": "",
		"r.example/a@sha512:" + strings.Repeat("a", 128): "",
		"r.example/" + strings.Repeat("a", 256):          "",
		"r.example/a:" + strings.Repeat("a", 2000):       "",
		"r.example?x=/a:b":                               "",
		"r.example#/a:b":                                 "",
		"r.example/a:b\r\nX-Header: x":                   "",
	} {
		ref, err := r.parse(reference)
		if want == "" && errors.Is(err, ErrInvalid) {
			if strings.ContainsAny(err.Error(), "\r\n") || len(err.Error()) > 500 {
				t.Errorf("%q: %q", reference, err)
			}
			continue
		}
		if err != nil || ref.Name() != want {
			t.Errorf("%q: %v, %v, want %q", reference, ref, err, want)
		}
	}
}

func TestKeychain(t *testing.T) {
	k, err := parseKeychain([]byte(`{"auths": {
		"https://index.docker.io/v1/": {"auth": "aHViOnBhc3M6d29yZA=="},
		"registry.example:5000": {"username": "u", "password": "p"},
		"registry.example:5000/team": {"username": "team", "password": "p"},
		"HTTPS://Upper.example/v2/": {"identitytoken": "t"}
	}}`))
	if err != nil {
		t.Fatal(err)
	}
	for reference, want := range map[string]authn.AuthConfig{
		"docker.io/library/debian":       {Username: "hub", Password: "pass:word"},
		"registry.example:5000/a":        {Username: "u", Password: "p"},
		"registry.example:5000/team":     {Username: "team", Password: "p"},
		"registry.example:5000/team/a/b": {Username: "team", Password: "p"},
		"registry.example:5000/teams/a":  {Username: "u", Password: "p"},
		"registry.example/a":             {},
		"example:5000/a":                 {},
		"upper.example/a":                {IdentityToken: "t"},
	} {
		repository, err := name.NewRepository(reference)
		if err != nil {
			t.Fatal(err)
		}
		a, err := k.Resolve(repository)
		if err != nil {
			t.Fatal(err)
		}
		got, err := authn.Authorization(context.Background(), a)
		got.Auth = ""
		if err != nil || *got != want {
			t.Errorf("%s: %+v, want %+v", reference, got, want)
		}
	}
}

func TestBadKeychain(t *testing.T) {
	for content, want := range map[string]string{
		"secret":                                          "not of the form",
		`{"auths":{"a":"secret"}}`:                        "not of the form",
		`{"auths":{"a":{"auth":"secret!"}}}`:              "not of the form",
		`{"credsStore":"secretservice"}`:                  "helpers",
		`{"credHelpers":{"a":"ecr-login"}}`:               "helpers",
		`{"auths":{}}` + strings.Repeat(" ", maxKeychain): "more than",
	} {
		file := filepath.Join(t.TempDir(), "config.json")
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := LoadKeychain(file); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret!") {
			t.Errorf("%.50q: %v, want %q", content, err, want)
		}
	}
	file := filepath.Join(t.TempDir(), "config.json")
	if err := os.WriteFile(file, []byte(`{"auths":{}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadKeychain(file); err != nil {
		t.Error(err)
	}
	if err := os.Chmod(file, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadKeychain(file); err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Error(err)
	}
}
