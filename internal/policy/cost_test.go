package policy

import (
	"strings"
	"testing"
	"time"
)

// TestCostBounded asks the most expensive question there can be: documents as
// long as they may be, of patterns made to be slow, and values as long.
func TestCostBounded(t *testing.T) {
	for name, pattern := range map[string]string{
		"runs":     strings.Repeat("*a", MaxSize/2-200) + "b",
		"ones":     strings.Repeat(`*`+strings.Repeat("?", 1000)+`b","`, MaxSize/1010-1),
		"letters":  strings.Repeat(`*`+strings.Repeat("?a", 500)+`b","`, MaxSize/1010-1),
		"segments": "arn:aws:s3:" + strings.Repeat("*a", MaxSize/2-200) + ":b:c",
	} {
		operator := "StringLike"
		if name == "segments" {
			operator = "ArnLike"
		}
		d := mustParse(t, KindIdentity, `{"Statement":{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"`+operator+`":{"aws:UserAgent":["`+pattern+`"]}}}}`)
		r := &Request{Principal: cast("alice"), Action: "a:b", Resource: "*", ResourceAccount: here}
		r.Keys.Set(KeyUserAgent, "arn:aws:s3:"+strings.Repeat("a", maxValue-len("arn:aws:s3:")))
		set, begin := NewSet([]*Document{d}, nil, nil), time.Now()
		if got := Evaluate(r, set, nil); got.Allowed {
			t.Errorf("%s: allowed", name)
		}
		took := time.Since(begin)
		t.Logf("%s: %v", name, took)
		if limit := 5 * time.Second; took > limit { // about 0.1 s; backtracking would take for ever
			t.Errorf("%s: took %v", name, took)
		}
	}
}

// TestTooLong: what is too long to be compared is not allowed, and only where
// a policy would compare it.
func TestTooLong(t *testing.T) {
	looks := mustParse(t, KindIdentity, `{"Statement":{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"StringNotEquals":{"aws:UserAgent":"x","aws:TagKeys":"x"}}}}`)
	all := mustParse(t, KindIdentity, `{"Statement":{"Effect":"Allow","Action":"*","Resource":"*"}}`)
	public := mustParse(t, KindResource, `{"Statement":{"Effect":"Allow","Principal":"*","Action":"*","Resource":"*","Condition":{"StringNotEquals":{"aws:UserAgent":"x"}}}}`)
	many := make([]string, 100)
	for i := range many {
		many[i] = strings.Repeat("k", 100)
	}
	for name, tt := range map[string]struct {
		set    *Document
		own    *Document
		change func(*Request)
		want   bool
	}{
		"short":                {looks, nil, func(r *Request) { r.Keys.Set(KeyUserAgent, "y") }, true},
		"as long as may be":    {looks, nil, func(r *Request) { r.Keys.Set(KeyUserAgent, strings.Repeat("y", maxValue)) }, true},
		"too long":             {looks, nil, func(r *Request) { r.Keys.Set(KeyUserAgent, strings.Repeat("y", maxValue+1)) }, false},
		"too many":             {looks, nil, func(r *Request) { r.Keys.SetList(KeyTagKeys, many) }, false},
		"too long, unlooked":   {all, nil, func(r *Request) { r.Keys.Set(KeyUserAgent, strings.Repeat("y", maxValue+1)) }, true},
		"too long for another": {all, public, func(r *Request) { r.Keys.Set(KeyUserAgent, strings.Repeat("y", maxValue+1)) }, false},
		"resource":             {all, nil, func(r *Request) { r.Resource = strings.Repeat("r", maxResource+1) }, false},
		"tags": {looks, nil, func(r *Request) {
			r.Keys.SetTags(TagsOfRequest, map[string]string{"a": strings.Repeat("y", maxValue+1)})
		}, true},
	} {
		r := &Request{Principal: cast("alice"), Action: "a:b", Resource: "*", ResourceAccount: here}
		tt.change(r)
		got := Evaluate(r, NewSet([]*Document{tt.set}, nil, nil), tt.own)
		if got.Allowed != tt.want || got.Allowed != (got.Reason == "") || len(got.Reason) > 1000 {
			t.Errorf("%s: %+v", name, got)
		}
	}
}
