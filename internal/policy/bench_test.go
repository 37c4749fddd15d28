package policy

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
)

// benchSet is what a role of some size has: two managed policies of 20
// statements each, one of its own, a boundary and a session policy; and the
// policy of a function that ten callers may invoke.
func benchSet(t testing.TB) (*Set, *Document) {
	t.Helper()
	managed := func(service string) *Document {
		var all []string
		for i := range 20 {
			all = append(all, fmt.Sprintf(`{"Sid":"S%d","Effect":"Allow","Action":["%s:Get*","%s:List*","%s:Put%d*"],
				"Resource":["arn:aws:%s:*:111122223333:thing/%d/*","arn:aws:%s:us-*-1:111122223333:other/${aws:PrincipalTag/team}/*"],
				"Condition":{"StringEquals":{"aws:RequestedRegion":"us-east-1"},"Bool":{"aws:SecureTransport":"true"}}}`, i, service, service, service, i, service, i, service))
		}
		return mustParse(t, KindIdentity, `{"Version":"2012-10-17","Statement":[`+strings.Join(all, ",")+`]}`)
	}
	inline := mustParse(t, KindIdentity, `{"Version":"2012-10-17","Statement":[
		{"Sid":"NoDelete","Effect":"Deny","Action":"lambda:Delete*","Resource":"*"},
		{"Sid":"OnlyHome","Effect":"Deny","Action":"*","Resource":"*","Condition":{"NotIpAddress":{"aws:SourceIp":["10.0.0.0/8","2001:db8::/32"]}}},
		{"Sid":"Invoke","Effect":"Allow","Action":["lambda:InvokeFunction","lambda:InvokeFunctionUrl"],
		 "Resource":"arn:aws:lambda:*:111122223333:function:team-${aws:PrincipalTag/team}-*"}]}`)
	limit := `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":["lambda:*","sqs:*"],"Resource":"*"}}`
	var statements []Statement
	for i := range 10 {
		p := Permission{
			StatementID: fmt.Sprint("s", i), Action: "lambda:InvokeFunction", Principal: "s3.amazonaws.com",
			Resource: benchRequest().Resource, SourceARN: fmt.Sprint("arn:aws:s3:::bucket-", i), SourceAccount: here,
		}
		s, err := p.Statement()
		if err != nil {
			t.Fatal(err)
		}
		statements = append(statements, s)
	}
	own, err := newResourceDocument("", "default", statements)
	if err != nil {
		t.Fatal(err)
	}
	boundary, session := mustParse(t, KindBoundary, limit), mustParse(t, KindSession, limit)
	return NewSet([]*Document{managed("s3"), managed("dynamodb"), inline}, boundary, []*Document{session}), own
}

func benchRequest() *Request {
	p := cast("session")
	p.Tags = []Tag{{"cost", "1"}, {"team", "red"}}
	r := &Request{Principal: p, Action: "lambda:InvokeFunction", Resource: "arn:aws:lambda:us-east-1:" + here + ":function:team-red-hello", ResourceAccount: here}
	r.Keys.Time = time.Unix(1_780_000_000, 0)
	r.Keys.SourceIP = netip.MustParseAddr("10.2.3.4")
	r.Keys.SetBool(KeySecureTransport, true)
	r.Keys.Set(KeyRequestedRegion, "us-east-1")
	r.Keys.Set(KeyUserAgent, "aws-sdk-go-v2/1.47 os/linux lang/go")
	return r
}

// measure runs what decides and reports its p99 in microseconds beside the
// mean. A decision must be under 20.
func measure(b *testing.B, decide func() Decision) {
	b.Helper()
	b.ReportAllocs()
	took := make([]time.Duration, 0, 1<<20)
	for b.Loop() {
		begin := time.Now()
		d := decide()
		if len(took) < cap(took) {
			took = append(took, time.Since(begin))
		}
		if !d.Allowed {
			b.Fatalf("%+v", d)
		}
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)*99/100].Nanoseconds())/1e3, "p99-µs")
}

// BenchmarkEvaluate decides without memory.
func BenchmarkEvaluate(b *testing.B) {
	set, own := benchSet(b)
	r := benchRequest()
	measure(b, func() Decision { return Evaluate(r, set, own) })
}

// BenchmarkCacheWarm decides what was decided before.
func BenchmarkCacheWarm(b *testing.B) {
	set, own := benchSet(b)
	r, cache := benchRequest(), NewCache(10_000)
	measure(b, func() Decision { return cache.Evaluate(r, set, own) })
}

// BenchmarkCacheWarmWithRequest adds what the API server does for each
// request: the description of it.
func BenchmarkCacheWarmWithRequest(b *testing.B) {
	set, own := benchSet(b)
	cache, p := NewCache(10_000), benchRequest().Principal
	now, addr := time.Unix(1_780_000_000, 0), netip.MustParseAddr("10.2.3.4")
	measure(b, func() Decision {
		r := Request{Principal: p, Action: "lambda:InvokeFunction", Resource: "arn:aws:lambda:us-east-1:" + here + ":function:team-red-hello", ResourceAccount: here}
		r.Keys.Time, r.Keys.SourceIP = now, addr
		r.Keys.SetBool(KeySecureTransport, true)
		r.Keys.Set(KeyRequestedRegion, "us-east-1")
		r.Keys.Set(KeyUserAgent, "aws-sdk-go-v2/1.47 os/linux lang/go")
		return cache.Evaluate(&r, set, own)
	})
}

// TestAllocations keeps what a decision allocates where it is.
func TestAllocations(t *testing.T) {
	set, own := benchSet(t)
	r, cache := benchRequest(), NewCache(100)
	cache.Evaluate(r, set, own)
	for name, tt := range map[string]struct {
		decide func()
		most   float64
	}{
		"evaluate": {func() { Evaluate(r, set, own) }, 0},
		"cached":   {func() { cache.Evaluate(r, set, own) }, 0},
	} {
		if got := testing.AllocsPerRun(100, tt.decide); got > tt.most {
			t.Errorf("%s: %v allocations, want at most %v", name, got, tt.most)
		}
	}
}
