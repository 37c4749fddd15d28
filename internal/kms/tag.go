package kms

import (
	"context"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"hearth/internal/awserr"
)

// tag is AWS's Tag.
type tag struct {
	Key   string `json:"TagKey"`
	Value string `json:"TagValue"`
}

// withTags returns tags with more of them, if all are sound.
func withTags(tags map[string]string, more []tag) (map[string]string, error) {
	tags = maps.Clone(tags)
	for i, t := range more {
		member := "tags." + strconv.Itoa(i+1) + ".member."
		switch {
		case t.Key == "" || utf8.RuneCountInString(t.Key) > 128:
			return nil, constraint(t.Key, member+"tagKey", "Member must have length between 1 and 128")
		case utf8.RuneCountInString(t.Value) > 256:
			return nil, constraint(t.Value, member+"tagValue", "Member must have length less than or equal to 256")
		case strings.HasPrefix(strings.ToLower(t.Key), "aws:"):
			return nil, awserr.New("TagException", "Tag keys that begin with aws: are AWS's own.")
		}
		if tags == nil {
			tags = make(map[string]string, len(more))
		}
		tags[t.Key] = t.Value
	}
	if len(tags) > maxTags {
		return nil, awserr.New("LimitExceededException", "A key has at most %d tags.", maxTags)
	}
	return tags, nil
}

type tagInput struct {
	KeyID   string   `json:"KeyId"`
	Tags    []tag    `json:"Tags"`
	TagKeys []string `json:"TagKeys"`
}

func tagResource(_ context.Context, c *call, in *tagInput) (*request, error) {
	if _, err := withTags(nil, in.Tags); err != nil {
		return nil, err
	}
	req, err := c.change(in.KeyID, func(now *key) (_ *key, err error) {
		if err := mustStay(now); err != nil {
			return nil, err
		}
		now.Tags, err = withTags(now.Tags, in.Tags)
		return now, err
	}, nil)
	if err != nil {
		return nil, err
	}
	for _, t := range in.Tags {
		req.access[0].Conditions["aws:RequestTag/"+t.Key] = t.Value
	}
	return req, nil
}

func untagResource(_ context.Context, c *call, in *tagInput) (*request, error) {
	return c.change(in.KeyID, func(now *key) (*key, error) {
		for _, name := range in.TagKeys {
			delete(now.Tags, name)
		}
		return now, mustStay(now)
	}, nil)
}

type listTagsInput struct {
	listInput
	KeyID string `json:"KeyId"`
}

func listResourceTags(_ context.Context, c *call, in *listTagsInput) (*request, error) {
	p, err := in.page(maxTags, maxTags)
	if err != nil {
		return nil, err
	}
	k, err := c.findKey(in.KeyID)
	if err != nil {
		return nil, err
	}
	return &request{access: []Access{c.on(k, nil)}, run: func(context.Context) (any, error) {
		list, next := []tag{}, ""
		for _, name := range slices.Sorted(maps.Keys(k.Tags)) {
			if name <= p.after {
				continue
			}
			if len(list) == p.limit {
				next = list[len(list)-1].Key
				break
			}
			list = append(list, tag{name, k.Tags[name]})
		}
		return struct {
			Tags []tag `json:"Tags"`
			pageAnswer
		}{list, answerPage(next)}, nil
	}}, nil
}
