package iam

import (
	"context"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"hearth/internal/awserr"
	"hearth/internal/awsquery"
)

const (
	maxClients     = 100
	maxProviders   = 100 // of an account
	maxThumbprints = 5
	// maxURL bounds a provider's URL, as IAM's API reference does.
	maxURL = 255
)

var providerOperations = map[string]operation{
	"CreateOpenIDConnectProvider":             {serve: createProvider, about: aboutNewProvider},
	"GetOpenIDConnectProvider":                {serve: getProvider, about: aboutProvider},
	"ListOpenIDConnectProviders":              {serve: listProviders},
	"DeleteOpenIDConnectProvider":             {serve: deleteProvider, about: aboutProvider},
	"AddClientIDToOpenIDConnectProvider":      {serve: addClient, about: aboutProvider},
	"RemoveClientIDFromOpenIDConnectProvider": {serve: removeClient, about: aboutProvider},
	"UpdateOpenIDConnectProviderThumbprint":   {serve: updateThumbprints, about: aboutProvider},
	"TagOpenIDConnectProvider":                {serve: tagProvider, about: aboutProvider},
	"UntagOpenIDConnectProvider":              {serve: untagProvider, about: aboutProvider},
	"ListOpenIDConnectProviderTags":           {serve: listProviderTags, about: aboutProvider},
}

func aboutProvider(s *Service, c *call) subject {
	about := subject{arn: c.Get("OpenIDConnectProviderArn")}
	if p, err := s.provider(c); err == nil {
		about.tags = p.Tags
	}
	return about
}

func aboutNewProvider(_ *Service, c *call) subject {
	return subject{arn: "arn:aws:iam::" + c.account() + ":oidc-provider/" + strings.TrimPrefix(c.Get("Url"), "https://")}
}

func (s *Service) provider(c *call) (*provider, error) {
	arn := c.Get("OpenIDConnectProviderArn")
	account, kind, name, ok := parseARN(arn)
	if ok && kind == "oidc-provider" && account == c.account() {
		if p, ok := s.providers.Lookup(key(account, name)); ok {
			return p, nil
		}
	}
	return nil, noEntity("OpenIDConnect Provider not found for arn %.300s", arn)
}

func (s *Service) changeProvider(ctx context.Context, c *call, f func(p *provider) error) error {
	p, err := s.provider(c)
	if err != nil {
		return err
	}
	_, err = s.providers.Change(ctx, key(p.Account, p.Name), func(now *provider) (*provider, error) {
		if now == nil {
			return nil, noEntity("OpenIDConnect Provider not found for arn %.300s", c.Get("OpenIDConnectProviderArn"))
		}
		next := now.clone()
		return next, f(next)
	})
	return err
}

type createProviderResult struct {
	OpenIDConnectProviderArn string
	Tags                     awsquery.List[xmlTag] `xml:",omitempty"`
}

func createProvider(ctx context.Context, s *Service, c *call) (any, error) {
	at, err := url.Parse(c.Get("Url"))
	if err != nil || at.Scheme != "https" || at.Host == "" || at.RawQuery != "" || at.Fragment != "" || at.User != nil || len(c.Get("Url")) > maxURL {
		return nil, awserr.New("InvalidInput", "The URL of an identity provider begins with https:// and has no query: %.255s", c.Get("Url"))
	}
	p := &provider{
		Account: c.account(), Name: strings.TrimSuffix(at.Host+at.EscapedPath(), "/"), Created: s.now(),
		Clients: c.List("ClientIDList"), Thumbprints: c.List("ThumbprintList"), Tags: c.tags(),
	}
	if err := checkTags(p.Tags); err != nil {
		return nil, err
	}
	if len(p.Clients) > maxClients {
		return nil, awserr.New("LimitExceeded", "Cannot exceed quota for ClientIdsPerOpenIdConnectProvider: %d", maxClients)
	}
	if err := checkThumbprints(p.Thumbprints); err != nil {
		return nil, err
	}
	if len(s.providers.List(c.account(), "", "", maxProviders)) >= maxProviders {
		return nil, awserr.New("LimitExceeded", "Cannot exceed quota for OpenIdConnectProvidersPerAccount: %d", maxProviders)
	}
	p, err = s.providers.Change(ctx, key(p.Account, p.Name), func(now *provider) (*provider, error) {
		if now != nil {
			return nil, awserr.New("EntityAlreadyExists", "Provider with url %s already exists.", c.Get("Url"))
		}
		return p, nil
	})
	if err != nil {
		return nil, err
	}
	return &createProviderResult{p.arn(), xmlTags(p.Tags)}, nil
}

type providerResult struct {
	URL            string `xml:"Url"`
	ClientIDList   awsquery.List[string]
	ThumbprintList awsquery.List[string]
	CreateDate     string
	Tags           awsquery.List[xmlTag] `xml:",omitempty"`
}

func getProvider(_ context.Context, s *Service, c *call) (any, error) {
	p, err := s.provider(c)
	if err != nil {
		return nil, err
	}
	return &providerResult{p.Name, p.Clients, p.Thumbprints, date(p.Created), xmlTags(p.Tags)}, nil
}

type providerItem struct{ Arn string }

type providersResult struct {
	OpenIDConnectProviderList awsquery.List[providerItem]
}

func listProviders(_ context.Context, s *Service, c *call) (any, error) {
	out := &providersResult{}
	for _, p := range s.providers.List(c.account(), "", "", everything) {
		out.OpenIDConnectProviderList = append(out.OpenIDConnectProviderList, providerItem{p.arn()})
	}
	return out, nil
}

func deleteProvider(ctx context.Context, s *Service, c *call) (any, error) {
	account, kind, name, ok := parseARN(c.Get("OpenIDConnectProviderArn"))
	if !ok || kind != "oidc-provider" || account != c.account() {
		return nil, noEntity("OpenIDConnect Provider not found for arn %.300s", c.Get("OpenIDConnectProviderArn"))
	}
	// Deleting one that is not there is no error, as with AWS.
	_, err := s.providers.Change(ctx, key(account, name), func(*provider) (*provider, error) { return nil, nil })
	return nil, err
}

func addClient(ctx context.Context, s *Service, c *call) (any, error) {
	return nil, s.changeProvider(ctx, c, func(p *provider) error {
		id := c.Get("ClientID")
		if id == "" || len(id) > maxURL {
			return awserr.New("InvalidInput", "A client id has 1 to %d characters.", maxURL)
		}
		if !slices.Contains(p.Clients, id) {
			p.Clients = append(p.Clients, id)
		}
		if len(p.Clients) > maxClients {
			return awserr.New("LimitExceeded", "Cannot exceed quota for ClientIdsPerOpenIdConnectProvider: %d", maxClients)
		}
		return nil
	})
}

func removeClient(ctx context.Context, s *Service, c *call) (any, error) {
	return nil, s.changeProvider(ctx, c, func(p *provider) error {
		p.Clients = slices.DeleteFunc(p.Clients, func(id string) bool { return id == c.Get("ClientID") })
		return nil
	})
}

func updateThumbprints(ctx context.Context, s *Service, c *call) (any, error) {
	return nil, s.changeProvider(ctx, c, func(p *provider) error {
		p.Thumbprints = c.List("ThumbprintList")
		return checkThumbprints(p.Thumbprints)
	})
}

func tagProvider(ctx context.Context, s *Service, c *call) (any, error) {
	return nil, s.changeProvider(ctx, c, func(p *provider) (err error) {
		p.Tags, err = tagged(p.Tags, c)
		return err
	})
}

func untagProvider(ctx context.Context, s *Service, c *call) (any, error) {
	return nil, s.changeProvider(ctx, c, func(p *provider) error {
		untagged(p.Tags, c)
		return nil
	})
}

func listProviderTags(_ context.Context, s *Service, c *call) (any, error) {
	p, err := s.provider(c)
	if err != nil {
		return nil, err
	}
	return tagList(c, p.Tags)
}

var thumbprint = regexp.MustCompile(`^[0-9A-Fa-f]{40}$`)

// checkThumbprints checks their form. They are kept and shown, and decide
// nothing: providers are believed by the authorities that the host trusts.
func checkThumbprints(all []string) error {
	if len(all) > maxThumbprints {
		return awserr.New("InvalidInput", "Thumbprint list must contain fewer than %d entries.", maxThumbprints+1)
	}
	for _, t := range all {
		if !thumbprint.MatchString(t) {
			return awserr.New("InvalidInput", "A thumbprint is 40 hexadecimal digits: %.64s", t)
		}
	}
	return nil
}
