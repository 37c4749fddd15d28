package api

import (
	"context"
	"maps"
	"strings"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/smithy-go"

	"hearth/internal/awserr"
	"hearth/internal/eventsource"
)

// Limits of tags, as AWS's developer guide gives them.
const (
	maxTags     = 50
	maxTagKey   = 128
	maxTagValue = 256
)

func (s *Server) tagHandlers() map[string]handler {
	return map[string]handler{
		"ListTags":      on(s.listTags),
		"TagResource":   on(s.tagResource),
		"UntagResource": on(s.untagResource),
	}
}

func (s *Server) listTags(ctx context.Context, c *call, in *lambda.ListTagsInput) (smithy.Serializable, error) {
	t, err := s.tagged(ctx, c, *in.Resource)
	if err != nil {
		return nil, err
	}
	if t.tags == nil {
		t.tags = map[string]string{}
	}
	return &lambda.ListTagsOutput{Tags: t.tags}, nil
}

func (s *Server) tagResource(ctx context.Context, c *call, in *lambda.TagResourceInput) (smithy.Serializable, error) {
	t, err := s.tagged(ctx, c, *in.Resource)
	if err != nil {
		return nil, err
	}
	if len(in.Tags) == 0 {
		return nil, badValue("An error occurred and the request cannot be processed.")
	}
	if err := checkTags(t.tags, in.Tags); err != nil {
		return nil, err
	}
	return nil, t.tag(ctx, in.Tags)
}

func (s *Server) untagResource(ctx context.Context, c *call, in *lambda.UntagResourceInput) (smithy.Serializable, error) {
	t, err := s.tagged(ctx, c, *in.Resource)
	if err != nil {
		return nil, err
	}
	return nil, t.untag(ctx, in.TagKeys)
}

// tagged is a resource that has tags.
type tagged struct {
	tags  map[string]string
	tag   func(ctx context.Context, tags map[string]string) error
	untag func(ctx context.Context, keys []string) error
}

// tagged finds the resource that an ARN names.
func (s *Server) tagged(ctx context.Context, c *call, resource string) (*tagged, error) {
	switch account, kind, id := s.resourceParts(resource); {
	case kind == mappingResource && account == c.AccountID:
		return s.taggedMapping(ctx, account, id)
	case kind == codeSigningResource && account == c.AccountID:
		return s.taggedCodeSigning(ctx, account, id)
	case !strings.Contains(resource, ":function:"):
		return nil, badValue("Tags are supported on functions, event source mappings and code signing configurations of this account and region. " +
			"Give the ARN of one of them.")
	}
	ref, err := s.resolve(c, resource, "")
	if err != nil {
		return nil, err
	}
	if ref.Qualifier != "" {
		return nil, badValue("Tags on function aliases and versions are not supported. Please specify a function ARN.")
	}
	r, err := s.cfg.Functions.Get(ctx, ref.Account, ref.Name)
	if err != nil {
		return nil, err
	}
	return &tagged{
		tags: r.Tags,
		tag: func(ctx context.Context, tags map[string]string) error {
			return s.cfg.Functions.Tag(ctx, r.Account, r.Name, tags)
		},
		untag: func(ctx context.Context, keys []string) error {
			return s.cfg.Functions.Untag(ctx, r.Account, r.Name, keys)
		},
	}, nil
}

func (s *Server) taggedMapping(ctx context.Context, account, uuid string) (*tagged, error) {
	m, err := s.cfg.Functions.Mapping(ctx, account, uuid)
	if err != nil {
		return nil, awserr.New("ResourceNotFoundException", "Event source mapping not found: %s", eventsource.ARN(s.cfg.Region, account, clip(uuid)))
	}
	change := s.cfg.Functions.TagMapping
	return &tagged{
		tags:  m.Tags,
		tag:   func(ctx context.Context, tags map[string]string) error { return change(ctx, account, uuid, tags, nil) },
		untag: func(ctx context.Context, keys []string) error { return change(ctx, account, uuid, nil, keys) },
	}, nil
}

func (s *Server) taggedCodeSigning(ctx context.Context, account, id string) (*tagged, error) {
	config, err := s.cfg.Functions.CodeSigningConfig(ctx, account, id)
	if err != nil {
		return nil, err
	}
	change := s.cfg.Functions.TagCodeSigningConfig
	return &tagged{
		tags:  config.Tags,
		tag:   func(ctx context.Context, tags map[string]string) error { return change(ctx, account, id, tags, nil) },
		untag: func(ctx context.Context, keys []string) error { return change(ctx, account, id, nil, keys) },
	}, nil
}

// Kinds of resources in ARNs, beside functions and layers.
const (
	mappingResource     = "event-source-mapping"
	codeSigningResource = "code-signing-config"
)

// resourceParts reads the ARN of a resource of this region that has an id.
func (s *Server) resourceParts(resource string) (account, kind, id string) {
	parts := strings.Split(resource, ":")
	const fields = 7
	if len(parts) != fields || parts[0] != "arn" || parts[2] != "lambda" || parts[3] != s.cfg.Region {
		return "", "", ""
	}
	return parts[4], parts[5], parts[6]
}

// checkTags checks tags that are to be added to those there are.
func checkTags(present, added map[string]string) error {
	all := maps.Clone(added)
	for k, v := range present {
		if _, ok := all[k]; !ok {
			all[k] = v
		}
	}
	if len(all) > maxTags {
		return badValue("Number of tags exceeds resource tag limit.")
	}
	for k, v := range added {
		switch {
		case strings.HasPrefix(strings.ToLower(k), "aws:"):
			return badValue("aws: prefixed tag key names are not allowed for external use.")
		case k == "" || utf8.RuneCountInString(k) > maxTagKey:
			return badValue("A tag's key must have 1 to %d characters.", maxTagKey)
		case utf8.RuneCountInString(v) > maxTagValue:
			return badValue("The value of tag '%s' must have at most %d characters.", k, maxTagValue)
		}
	}
	return nil
}
