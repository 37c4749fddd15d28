package api

import (
	"context"
	"maps"
	"strings"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/smithy-go"

	"hearth/internal/function"
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
	record, err := s.tagged(ctx, c, *in.Resource)
	if err != nil {
		return nil, err
	}
	tags := record.Tags
	if tags == nil {
		tags = map[string]string{}
	}
	return &lambda.ListTagsOutput{Tags: tags}, nil
}

func (s *Server) tagResource(ctx context.Context, c *call, in *lambda.TagResourceInput) (smithy.Serializable, error) {
	record, err := s.tagged(ctx, c, *in.Resource)
	if err != nil {
		return nil, err
	}
	if len(in.Tags) == 0 {
		return nil, badValue("An error occurred and the request cannot be processed.")
	}
	if err := checkTags(record.Tags, in.Tags); err != nil {
		return nil, err
	}
	return nil, s.cfg.Functions.Tag(ctx, record.Account, record.Name, in.Tags)
}

func (s *Server) untagResource(ctx context.Context, c *call, in *lambda.UntagResourceInput) (smithy.Serializable, error) {
	record, err := s.tagged(ctx, c, *in.Resource)
	if err != nil {
		return nil, err
	}
	return nil, s.cfg.Functions.Untag(ctx, record.Account, record.Name, in.TagKeys)
}

// tagged finds the function that a resource ARN names.
func (s *Server) tagged(ctx context.Context, c *call, resource string) (*function.Record, error) {
	if !strings.Contains(resource, ":function:") {
		return nil, badValue("Tags are supported on functions only by this version of Hearth. Give the ARN of a function.")
	}
	ref, err := s.resolve(c, resource, "")
	if err != nil {
		return nil, err
	}
	if ref.Qualifier != "" {
		return nil, badValue("Tags on function aliases and versions are not supported. Please specify a function ARN.")
	}
	return s.cfg.Functions.Get(ctx, ref.Account, ref.Name)
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
