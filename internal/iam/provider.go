package iam

import (
	"context"
	"net/url"
	"slices"
	"strings"

	"hearth/internal/awserr"
)

const (
	maxClients = 100
	// maxURL bounds a provider's URL, as IAM's API reference does.
	maxURL = 255
)

var providerOperations = map[string]operation{
	"CreateOpenIDConnectProvider":             {serve: createProvider},
	"GetOpenIDConnectProvider":                {serve: getProvider, resource: providerARN},
	"ListOpenIDConnectProviders":              {serve: listProviders},
	"DeleteOpenIDConnectProvider":             {serve: deleteProvider, resource: providerARN},
	"AddClientIDToOpenIDConnectProvider":      {serve: addClient, resource: providerARN},
	"RemoveClientIDFromOpenIDConnectProvider": {serve: removeClient, resource: providerARN},
	"UpdateOpenIDConnectProviderThumbprint":   {serve: updateThumbprints, resource: providerARN},
	"TagOpenIDConnectProvider":                {serve: tagProvider, resource: providerARN},
	"ListOpenIDConnectProviderTags":           {serve: listProviderTags, resource: providerARN},
}

func providerARN(_ *Service, c *call) string { return c.Get("OpenIDConnectProviderArn") }

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
	Tags                     []xmlTag `xml:"Tags>member"`
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
	URL            string   `xml:"Url"`
	ClientIDList   []string `xml:"ClientIDList>member"`
	ThumbprintList []string `xml:"ThumbprintList>member"`
	CreateDate     string
	Tags           []xmlTag `xml:"Tags>member"`
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
	OpenIDConnectProviderList []providerItem `xml:"OpenIDConnectProviderList>member"`
}

func listProviders(_ context.Context, s *Service, c *call) (any, error) {
	out := &providersResult{}
	for _, p := range s.providers.List(c.account(), "", "", maxListed) {
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
		return nil
	})
}

func tagProvider(ctx context.Context, s *Service, c *call) (any, error) {
	return nil, s.changeProvider(ctx, c, func(p *provider) (err error) {
		p.Tags, err = tagged(p.Tags, c)
		return err
	})
}

func listProviderTags(_ context.Context, s *Service, c *call) (any, error) {
	p, err := s.provider(c)
	if err != nil {
		return nil, err
	}
	return tagList(p.Tags), nil
}
