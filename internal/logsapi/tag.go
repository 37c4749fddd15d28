package logsapi

import (
	"context"
	"maps"
	"regexp"
	"strconv"

	"hearth/internal/awserr"
)

// Bounds of tags, from the API's model.
const (
	maxTags     = 50
	maxTagKey   = 128
	maxTagValue = 256
)

var (
	tagKeyPattern   = regexp.MustCompile(`^(?:[\p{L}\p{Z}\p{N}_.:/=+\-@]+)$`)
	tagValuePattern = regexp.MustCompile(`^(?:[\p{L}\p{Z}\p{N}_.:/=+\-@]*)$`)
)

func (c *checks) tags(tags map[string]string) {
	c.length("tags", len(tags), maxTags)
	for key, value := range tags {
		c.text("tags", key, true, maxTagKey*4, tagKeyPattern)
		c.text("tags", value, false, maxTagValue*4, tagValuePattern)
		if len([]rune(key)) > maxTagKey || len([]rune(value)) > maxTagValue {
			c.add("'"+key+"'", "tags", "Member must have length less than or equal to "+strconv.Itoa(maxTagKey))
		}
	}
}

// tagTarget is the group whose tags a request is about, named by an ARN.
type tagTarget struct {
	ResourceARN string `json:"resourceArn"`
}

func (r *tagTarget) check(c *checks) {
	c.text("resourceArn", r.ResourceARN, true, maxTagARN, tagARNPattern)
}

func (r *tagTarget) resources(sc scope) ([]string, error) {
	var c checks
	r.check(&c)
	if err := c.err(); err != nil {
		return nil, err
	}
	name, err := r.group(sc)
	return []string{sc.groupARN(name)}, err
}

func (r *tagTarget) group(sc scope) (string, error) {
	if len(r.ResourceARN) < 4 || r.ResourceARN[:4] != "arn:" {
		return "", invalid("Invalid ARN: %.256s", r.ResourceARN)
	}
	return sc.identified(r.ResourceARN)
}

type tagsResponse struct {
	Tags map[string]string `json:"tags"`
}

func (s *Service) listTagsForResource(_ context.Context, sc scope, in *tagTarget) (any, error) {
	name, err := in.group(sc)
	if err != nil {
		return nil, err
	}
	return s.tagsOf(sc, name)
}

func (s *Service) tagsOf(sc scope, name string) (any, error) {
	info, ok := s.cfg.Store.Info(sc.group(name))
	if !ok {
		return nil, errNoGroup
	}
	if info.Tags == nil {
		info.Tags = map[string]string{}
	}
	return &tagsResponse{info.Tags}, nil
}

type tagResourceRequest struct {
	tagTarget

	Tags map[string]string `json:"tags"`
}

func (r *tagResourceRequest) resources(sc scope) ([]string, error) {
	var c checks
	r.check(&c)
	c.tags(r.Tags)
	if err := c.err(); err != nil {
		return nil, err
	}
	return r.tagTarget.resources(sc)
}

func (s *Service) tagResource(_ context.Context, sc scope, in *tagResourceRequest) (any, error) {
	name, err := in.group(sc)
	if err != nil {
		return nil, err
	}
	return nil, s.addTags(sc, name, in.Tags)
}

func (s *Service) addTags(sc scope, name string, tags map[string]string) error {
	return s.cfg.Store.ChangeTags(sc.group(name), func(all map[string]string) error {
		maps.Copy(all, tags)
		if len(all) > maxTags {
			return awserr.New("TooManyTagsException", "A resource can have no more than %d tags.", maxTags)
		}
		return nil
	})
}

type untagResourceRequest struct {
	tagTarget

	TagKeys []string `json:"tagKeys"`
}

func (r *untagResourceRequest) resources(sc scope) ([]string, error) {
	var c checks
	c.length("tagKeys", len(r.TagKeys), maxTags)
	if err := c.err(); err != nil {
		return nil, err
	}
	return r.tagTarget.resources(sc)
}

func (s *Service) untagResource(_ context.Context, sc scope, in *untagResourceRequest) (any, error) {
	name, err := in.group(sc)
	if err != nil {
		return nil, err
	}
	return nil, s.removeTags(sc, name, in.TagKeys)
}

func (s *Service) removeTags(sc scope, name string, keys []string) error {
	return s.cfg.Store.ChangeTags(sc.group(name), func(all map[string]string) error {
		for _, key := range keys {
			delete(all, key)
		}
		return nil
	})
}

// The operations that name a group by its name are older; tools still use them.

func (s *Service) listTagsLogGroup(_ context.Context, sc scope, in *groupRequest) (any, error) {
	return s.tagsOf(sc, in.LogGroupName)
}

type tagLogGroupRequest struct {
	groupRequest

	Tags map[string]string `json:"tags"`
}

func (r *tagLogGroupRequest) resources(sc scope) ([]string, error) {
	var c checks
	c.tags(r.Tags)
	if err := c.err(); err != nil {
		return nil, err
	}
	return r.groupRequest.resources(sc)
}

func (s *Service) tagLogGroup(_ context.Context, sc scope, in *tagLogGroupRequest) (any, error) {
	return nil, s.addTags(sc, in.LogGroupName, in.Tags)
}

type untagLogGroupRequest struct {
	groupRequest

	Tags []string `json:"tags"`
}

func (s *Service) untagLogGroup(_ context.Context, sc scope, in *untagLogGroupRequest) (any, error) {
	return nil, s.removeTags(sc, in.LogGroupName, in.Tags)
}
