package policy

import (
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"
)

func remembered(c *Cache) int {
	n := 0
	for i := range c.shards {
		n += len(c.shards[i].young) + len(c.shards[i].old)
	}
	return n
}

// TestCacheTime: what looks at the time is asked each time.
func TestCacheTime(t *testing.T) {
	for _, body := range []string{
		`"Resource":"*","Condition":{"DateLessThan":{"aws:CurrentTime":"2026-06-01"}}`,
		`"Resource":"*","Condition":{"NumericLessThan":{"aws:EpochTime":"1780272000"}}`,
		`"Resource":"*","Condition":{"StringLike":{"aws:userid":"*${aws:CurrentTime}"}}`,
	} {
		d := mustParse(t, KindIdentity, `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"*",`+body+`}}`)
		set, cache := NewSet([]*Document{d}, nil, nil), NewCache(100)
		r := &Request{Principal: cast("alice"), Action: "a:b", Resource: "*", ResourceAccount: here}
		for _, month := range []time.Month{5, 7, 5} {
			r.Keys.Time = time.Date(2026, month, 1, 0, 0, 0, 0, time.UTC)
			if got, want := cache.Evaluate(r, set, nil), Evaluate(r, set, nil); got != want {
				t.Errorf("%s in month %d: %+v, want %+v", body, month, got, want)
			}
		}
		own := mustParse(t, KindResource, `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"*","Principal":"*",`+body+`}}`)
		cache.Evaluate(r, nil, own)
		if n := remembered(cache); n != 0 {
			t.Errorf("%s: %d decisions are remembered", body, n)
		}
	}
}

// TestCacheKeys: each value that a policy looks at makes another decision, and
// what no policy looks at does not.
func TestCacheKeys(t *testing.T) {
	d := mustParse(t, KindIdentity, `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"IpAddress":{"aws:SourceIp":"10.0.0.0/8"}}}}`)
	set, cache := NewSet([]*Document{d}, nil, nil), NewCache(1000)
	ask := func(change func(*Request)) bool {
		r := &Request{Principal: cast("alice"), Action: "a:b", Resource: "*", ResourceAccount: here}
		r.Keys.SourceIP = netip.MustParseAddr("10.1.1.1")
		r.Keys.Time = time.Now()
		change(r)
		return cache.Evaluate(r, set, nil).Allowed
	}
	if !ask(func(*Request) {}) {
		t.Fatal("denied")
	}
	for name, change := range map[string]func(*Request){
		"user agent": func(r *Request) { r.Keys.Set(KeyUserAgent, "x") },
		"time":       func(r *Request) { r.Keys.Time = r.Keys.Time.Add(time.Hour) },
		"tags":       func(r *Request) { r.Principal.Tags = []Tag{{"a", "b"}} },
	} {
		if !ask(change) || remembered(cache) != 1 {
			t.Errorf("%s: %d decisions, want 1", name, remembered(cache))
		}
	}
	own := mustParse(t, KindResource, `{"Statement":{"Effect":"Deny","Principal":"*","Action":"*","Resource":"*","Condition":{"StringEquals":{"aws:Referer":"x"}}}}`)
	for referer, want := range map[string]bool{"x": false, "y": true} {
		r := &Request{Principal: cast("root"), Action: "a:b", Resource: "*", ResourceAccount: here}
		r.Keys.Set(KeyReferer, referer)
		if got := cache.Evaluate(r, nil, own); got.Allowed != want {
			t.Errorf("the resource's policy, referer %s: %+v", referer, got)
		}
	}
	if ask(func(r *Request) { r.Keys.SourceIP = netip.MustParseAddr("11.1.1.1") }) {
		t.Error("another address was answered from memory")
	}
	for name, change := range map[string]func(*Request){
		"account":  func(r *Request) { r.ResourceAccount = there },
		"must":     func(r *Request) { r.MustGrant = true },
		"borders":  func(r *Request) { r.Action, r.Resource = "a:b*", "" },
		"resource": func(r *Request) { r.Resource = "arn:aws:s3:::b" },
		"user":     func(r *Request) { r.Principal = cast("bob") },
		"kind":     func(r *Request) { r.Principal.Kind = FederatedUser },
		"issuer":   func(r *Request) { r.Principal.Issuer = "x" },
	} {
		before := remembered(cache)
		if ask(change); remembered(cache) != before+1 {
			t.Errorf("%s: is answered as without", name)
		}
	}
}

// TestCacheBounded: no client fills memory, neither with many requests nor
// with long ones.
func TestCacheBounded(t *testing.T) {
	const limit = 320
	cache := NewCache(limit)
	r := &Request{Principal: cast("root"), ResourceAccount: here}
	for i := range 10_000 {
		r.Action = "a:" + strings.Repeat("b", i%50) + string(rune('a'+i%26)) + time.Duration(i).String()
		cache.Evaluate(r, nil, nil)
	}
	if n := remembered(cache); n > limit {
		t.Errorf("%d decisions, want at most %d", n, limit)
	}
	cache = NewCache(limit)
	r.Resource = strings.Repeat("x", longestCacheKey)
	if cache.Evaluate(r, nil, nil); remembered(cache) != 0 {
		t.Error("a long request is remembered")
	}
}

func TestCacheConcurrent(t *testing.T) {
	cache := NewCache(64)
	set, own := benchSet(t)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for i := range 500 {
				r := benchRequest()
				r.Resource += string(rune('a' + i%26))
				if got, want := cache.Evaluate(r, set, own), Evaluate(r, set, own); got != want {
					t.Errorf("got %+v, want %+v", got, want)
					return
				}
			}
		})
	}
	all.Wait()
}
