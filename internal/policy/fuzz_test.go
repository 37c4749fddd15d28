package policy

import (
	"encoding/json"
	"net/netip"
	"os"
	"reflect"
	"testing"
	"time"
)

// FuzzParse reads hostile documents of every kind. What is read decides
// without fault, and decides alike after it is written and read again.
func FuzzParse(f *testing.F) {
	seed(f)
	f.Fuzz(func(t *testing.T, which byte, raw []byte) {
		kind := Kind(which%uint8(KindTrust)) + 1
		once, err := Parse(kind, "", raw)
		if err != nil {
			if len(err.Error()) > 4*MaxRaw {
				t.Fatalf("an error of %d bytes", len(err.Error()))
			}
			return
		}
		written, err := once.MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		again, err := Parse(kind, "", written)
		if err != nil {
			if once.Size() > MaxSize/2 {
				return // escapes and brackets may take a document over the bound
			}
			t.Fatalf("%s\nwritten as\n%s\n%v", raw, written, err)
		}
		if !reflect.DeepEqual(once.Statements, again.Statements) || once.Version != again.Version || once.ID != again.ID {
			t.Fatalf("%s\nwritten as\n%s", raw, written)
		}
		for _, r := range fuzzRequests() {
			if a, b := decideAlone(r, once), decideAlone(r, again); a != b {
				t.Fatalf("%s\ndecides %+v, then %+v", raw, a, b)
			}
		}
	})
}

func seed(f *testing.F) {
	f.Helper()
	for _, file := range loadTables(f) {
		for _, c := range file.Cases {
			for _, raw := range append(c.Identity, c.Policy, c.Boundary) {
				f.Add(byte(KindIdentity-1), []byte(raw))
				f.Add(byte(KindResource-1), []byte(raw))
			}
			f.Add(byte(KindTrust-1), []byte(c.Trust))
			if c.Condition != nil {
				f.Add(byte(KindIdentity-1), []byte(c.conditionPolicy()))
			}
		}
		for _, raw := range file.Policies {
			f.Add(byte(KindIdentity-1), []byte(raw))
		}
	}
	raw, err := os.ReadFile("testdata/malformed/malformed.json")
	if err != nil {
		f.Fatal(err)
	}
	var cases []struct{ Kind, Document string }
	if err := json.Unmarshal(raw, &cases); err != nil {
		f.Fatal(err)
	}
	for _, c := range cases {
		f.Add(byte(kinds[c.Kind]-1), []byte(c.Document))
	}
}

func fuzzRequests() []*Request {
	var all []*Request
	for _, name := range people {
		r := &Request{Principal: cast(name), Action: "lambda:InvokeFunction", Resource: resources[0], ResourceAccount: here}
		r.Keys.Time = time.Unix(1_780_000_000, 0)
		r.Keys.SourceIP = netip.MustParseAddr("203.0.113.7")
		r.Keys.Set(KeySourceARN, "arn:aws:s3:::bucket")
		r.Keys.SetList(KeyTagKeys, []string{"a", "b"})
		all = append(all, r, &Request{Principal: cast(name), Action: "sts:AssumeRole", Resource: "*"})
	}
	return all
}

// FuzzMatch holds the matcher against the regular expression.
func FuzzMatch(f *testing.F) {
	f.Add("arn:aws:lambda:us-*-1:1:function:a*", "arn:aws:lambda:us-east-1:1:function:a:7", byte(1))
	f.Add("*a?:*b", "aa::b", byte(2))
	f.Fuzz(func(t *testing.T, pattern, text string, which byte) {
		if len(pattern) > 100 || len(text) > 200 || !isASCII(pattern) || !isASCII(text) {
			return
		}
		s := style{wildcards: true, colons: colons(which % 3)}
		p, err := compilePattern(pattern, s)
		if err != nil {
			t.Fatal(err)
		}
		if got, _ := p.match(nil, text); got != oracle(pattern, s).MatchString(text) {
			t.Fatalf("%q against %q, %d: %v", pattern, text, which%3, got)
		}
	})
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}
