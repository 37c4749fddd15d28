package logfilter

import (
	"strings"
	"testing"
)

// The events and patterns of the tables are those of AWS's pages, or of the
// same kind:
// https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/FilterAndPatternSyntax.html
// https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/matching-terms-unstructured-log-events.html
// https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/matching-terms-json-log-events.html
// https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/matching-terms-space-delimited-log-events.html
// https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/regex-expressions.html

type example struct {
	pattern    string
	event      string
	want       bool
	annotation string
}

func run(t *testing.T, examples []example) {
	t.Helper()
	for _, x := range examples {
		p, err := Parse(x.pattern)
		if err != nil {
			t.Errorf("%s: %v", x.pattern, err)
			continue
		}
		if got := p.Match(x.event); got != x.want {
			t.Errorf("pattern %s\nevent   %s\ngot %v, want %v %s", x.pattern, x.event, got, x.want, x.annotation)
		}
	}
}

func TestTerms(t *testing.T) {
	const (
		bad          = "[ERROR 400] BAD REQUEST"
		unauthorized = "[ERROR 401] UNAUTHORIZED REQUEST"
		missing      = "[ERROR 419] MISSING ARGUMENTS"
		invalid      = "[ERROR 420] INVALID ARGUMENTS"
		internal     = "[ERROR 500] INTERNAL SERVER ERROR"
	)
	run(t, []example{
		{"", bad, true, "empty matches all"},
		{"  ", bad, true, "spaces match all"},
		{"ERROR", bad, true, ""},
		{"ERROR", "Exiting with ERRORCODE: -1", true, "within a word"},
		{"error", bad, false, "case matters"},
		{"ERROR ARGUMENTS", missing, true, "all terms"},
		{"ERROR ARGUMENTS", unauthorized, false, ""},
		{"ARGUMENTS ERROR", invalid, true, "in any order"},
		{"?ERROR ?ARGUMENTS", bad, true, "any term"},
		{"?REQUEST ?ARGUMENTS", internal, false, ""},
		{`"INTERNAL SERVER ERROR"`, internal, true, "a phrase"},
		{`"SERVER INTERNAL"`, internal, false, ""},
		{"ERROR -ARGUMENTS", bad, true, "excluded"},
		{"ERROR -ARGUMENTS", missing, false, ""},
		{`-"BAD REQUEST"`, bad, false, "an excluded phrase"},
		{"-ERROR", "fine", true, "only excluded"},
		{"?MISSING ?INVALID REQUEST", bad, true, "question marks are ignored beside other terms"},
		{`"say \"hi\" \\ there"`, `they say "hi" \ there`, true, "escapes"},
		{"level=warn", "level=warn x", true, "special characters without quotes"},
		{"%AUTHORIZED%", unauthorized, true, "a regular expression"},
		{"%AUTHORIZED%", "[SUCCESS 200] AUTHORIZED REQUEST", true, ""},
		{"%AUTHORIZED%", bad, false, ""},
		{"ERROR -%4[0-9]{2}%", bad, false, "an excluded regular expression"},
		{"ERROR -%4[0-9]{2}%", internal, true, ""},
		{"%ERROR%  REQUEST", bad, true, ""},
		{"größe", "die größe zählt", true, "not only ASCII"},
	})
}

func TestRegex(t *testing.T) {
	run(t, []example{
		{"%^[hc]at%", "hat", true, ""},
		{"%^[hc]at%", "the hat", false, "anchored"},
		{"%[hc]at$%", "the cat", true, ""},
		{"%[hc]at$%", "cats", false, ""},
		{"%colou?r%", "color", true, ""},
		{"%colou?r%", "colour", true, ""},
		{"%[abcx-z]%", "y", true, ""},
		{"%^a{3,5}$%", "aaaa", true, ""},
		{"%^a{3,5}$%", "aa", false, ""},
		{"%gra|ey%", "hey", true, ""},
		{`%\d%`, "a1", true, ""},
		{`%^\D$%`, "1", false, ""},
		{`%^\w\s\S\W$%`, "_\t!-", true, ""},
		{`%10\.10\.0\.1%`, "10.10.0.1", true, ""},
		{`%10\.10\.0\.1%`, "10x10.0.1", false, ""},
		{`%\x41\%%`, "A%", true, ""},
		{"%zo*m+.%", "zmm!", true, ""},
	})
}

const trail = `{
  "eventType": "UpdateTrail",
  "sourceIPAddress": "111.111.111.111",
  "arrayKey": ["value", "another value"],
  "objectList": [{"name": "a", "id": 1}, {"name": "b", "id": 2}],
  "SomeObject": null,
  "cluster.name": "c",
  "size": 75, "ratio": 1.5e3, "negative": -4, "text": "75", "yes": true, "no": false
}`

func TestDocument(t *testing.T) {
	run(t, []example{
		{`{ $.eventType = "UpdateTrail" }`, trail, true, ""},
		{`{$.eventType="UpdateTrail"}`, trail, true, "no spaces"},
		{`{ $.eventType = UpdateTrail }`, trail, true, "no quotes"},
		{`{ $.eventType = "Update*" }`, trail, true, "wildcard"},
		{`{ $.eventType = *Trail }`, trail, true, ""},
		{`{ $.eventType = * }`, trail, true, "anything"},
		{`{ $.objectList = * }`, trail, true, "anything"},
		{`{ $.nothing = * }`, trail, false, ""},
		{`{ $.eventType = "updatetrail" }`, trail, false, "case matters"},
		{`{ $.sourceIPAddress != 123.123.* }`, trail, true, ""},
		{`{ $.sourceIPAddress != 111.111.* }`, trail, false, ""},
		{`{ $.arrayKey[0] = "value" }`, trail, true, ""},
		{`{ $.arrayKey[1] = "value" }`, trail, false, ""},
		{`{ $.arrayKey[7] = "value" }`, trail, false, "no such element"},
		{`{ $.arrayKey[*] = "another value" }`, trail, true, "any element"},
		{`{ $.objectList[1].id = 2 }`, trail, true, ""},
		{`{ $.objectList[*].id = 3 }`, trail, false, ""},
		{`{ $['cluster.name'] = "c" }`, trail, true, "a name with a dot"},
		{`{ $["cluster.name"] = "c" }`, trail, true, ""},
		{`{ $.eventType = %Trail% }`, trail, true, ""},
		{`{ $.eventType != %^Update% }`, trail, false, ""},
		{`{ $.size > 70 }`, trail, true, ""},
		{`{ $.size > 75 }`, trail, false, ""},
		{`{ $.size >= 75 }`, trail, true, ""},
		{`{ $.size < 7.6e1 }`, trail, true, ""},
		{`{ $.size <= 74 }`, trail, false, ""},
		{`{ $.size = 75.0 }`, trail, true, "numbers are not texts"},
		{`{ $.ratio = 1500 }`, trail, true, ""},
		{`{ $.negative = -4 }`, trail, true, ""},
		{`{ $.size = 7* }`, trail, true, "a number as a text"},
		{`{ $.text = 75 }`, trail, true, "a text that is a number"},
		{`{ $.text > 70 }`, trail, false, "a text has no size"},
		{`{ $.size != 75 }`, trail, false, ""},
		{`{ $.missing != 75 }`, trail, false, "no property, no comparison"},
		{`{ $.SomeObject IS NULL }`, trail, true, ""},
		{`{ $.eventType IS NULL }`, trail, false, ""},
		{`{ $.missing IS NULL }`, trail, false, ""},
		{`{ $.SomeOtherObject NOT EXISTS }`, trail, true, ""},
		{`{ $.SomeObject NOT EXISTS }`, trail, false, ""},
		{`{ $.yes IS TRUE }`, trail, true, ""},
		{`{ $.yes is false }`, trail, false, ""},
		{`{ $.no IS FALSE }`, trail, true, ""},
		{`{ $.text IS TRUE }`, trail, false, ""},
		{`{ $.yes = true }`, trail, true, ""},
		{`{ $.size = 1 || $.size = 75 }`, trail, true, ""},
		{`{ ($.size = 75) && ($.eventType = "UpdateTrail") }`, trail, true, ""},
		{`{ $.size = 75 && $.eventType = "no" }`, trail, false, ""},
		{`{ $.size = 75 || $.size = 1 && $.size = 2 }`, trail, true, "&& before ||"},
		{`{ ($.size = 75 || $.size = 1) && $.size = 2 }`, trail, false, "parentheses first"},
		{`{ $.size = 75 }`, "not JSON", false, ""},
		{`{ $.size = 75 }`, `{"size": 75} and more`, false, ""},
		{`{ $.size = 75 }`, `[{"size": 75}]`, false, ""},
		{`{ $[0].size = 75 }`, `[{"size": 75}]`, true, ""},
		{`{ $.a.b[0] = "x*" && ($.n > 3 || $.c IS NULL || $.d NOT EXISTS) }`, `{"a":{"b":["xyz"]},"n":1,"d":2,"c":null}`, true, ""},
		{`{ $.a.b[0] = "x*" && ($.n > 3 || $.c IS NULL || $.d NOT EXISTS) }`, `{"a":{"b":["xyz"]},"n":1,"d":2}`, false, ""},
	})
}

func TestFields(t *testing.T) {
	const event = `127.0.0.1 Prod frank [10/Oct/2000:13:25:15 -0700] "GET /index.html HTTP/1.0" 404 1534`
	run(t, []example{
		{`[ip, user, username, timestamp, request, status_code, bytes]`, event, true, ""},
		{`[ip, user, username, timestamp, request, status_code]`, event, false, "a field too few"},
		{`[ip, user, username, timestamp, request, status_code, bytes, more]`, event, false, "a field too many"},
		{`[ip, user, username, timestamp, request =*.html*, status_code = 4*, bytes]`, event, true, ""},
		{`[ip, user, username, timestamp, request =*.html*, status_code = 4*,]`, event, true, "AWS's example ends with a comma"},
		{`[ip, user, username, timestamp, request, status_code = 5*, bytes]`, event, false, ""},
		{`[ip, user, username, timestamp, request, status_code, bytes > 1000]`, event, true, ""},
		{`[ip, user, username, timestamp, request, status_code, bytes > 1e4]`, event, false, ""},
		{`[..., bytes>10]`, event, true, "an ellipsis"},
		{`[..., status=4*, bytes>10]`, event, true, ""},
		{`[ip=127*, ..., bytes]`, event, true, "in the middle"},
		{`[ip=127*, ...]`, event, true, "at the end"},
		{`[ip=10*, ...]`, event, false, ""},
		{`[ip=%127\.0\.0\.[1-9]%, ...]`, event, true, ""},
		{`[..., request="GET /index.html HTTP/1.0", status, bytes]`, event, true, "a quoted field"},
		{`[ip, id, user, timestamp = "10/Oct/2000*", ...]`, event, true, "a field in brackets"},
		{`[..., status=404 || status=410, bytes]`, event, true, ""},
		{`[..., status!=404 && status!=410, bytes]`, event, false, ""},
		{`[..., (status=404 || status=410) && status>405, bytes]`, event, false, ""},
		{`[w1=ERROR, w2]`, "ERROR code", true, ""},
		{`[w1!=ERROR&&w1!=%WARN%, w2]`, "INFO code", true, ""},
		{`[w1!=ERROR&&w1!=%WARN%, w2]`, "WARNING code", false, ""},
		{`[a, b]`, "one [two", true, "a bracket that is not closed"},
		{`[a]`, "", false, ""},
		{`[...]`, "", true, ""},
		{`[a > 1]`, "Infinity", false, ""},
	})
}

func TestParseRefuses(t *testing.T) {
	for _, pattern := range []string{
		strings.Repeat("x", MaxPattern+1), "-", "?", "ok -", `"open`, `- x`,
		"%open", "%%", "%a(b)%", "%something!%", "%ü%", "%a b%", `%\b%`, `%\x4%`, `%a\%`, "%[%", "%a**{2}{3%", "%a{9}{9}{9}{9}%", "%*a%",
		"%a{1000}%%b{1000}% %a{1000}%",
		"{", "{}", "{ $ = 1 }", "{ $.a }", "{ $.a = }", "{ $.a = 1", "{ $.a = 1 } x", "{ a = 1 }", "{ $.a > x }", `{ $.a < "1" }`, "{ $.a IS }",
		"{ $.a IS MAYBE }", "{ $.a NOT }", "{ $.a[ = 1 }", "{ $.a[x] = 1 }", "{ $.a[-1] = 1 }", "{ $.a['x = 1 }", "{ $.a..b = 1 }", "{ $.a = 1 && }", "{ ($.a = 1 }",
		"{ $.a == 1 }", "{ $.a = %x% || $.b = %y% || $.c = %z% }", "{ $.a > %x% }", "{ $.a[99999999999999999999] = 1 }",
		"{" + strings.Repeat("(", maxDepth+1) + "$.a = 1" + strings.Repeat(")", maxDepth+1) + "}",
		"[", "[a", "[a] x", "[a b]", "[a=]", "[=1]", "[..., ...]", "[a=1 && b=2]", "[a=1 || ]", "[a >= x]", "[(a=1]", `[a="x]`,
	} {
		if p, err := Parse(pattern); err == nil {
			t.Errorf("%s was accepted as %#v", pattern, p.matcher)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		"a -b ?c", `"a \" b" %c[0-9]{2}% -%d%`, `{ ($.a.b[0] = "x*" && $.n >= 3e1) || $['c'] IS NULL || $.* NOT EXISTS }`,
		`[ip, user = a* || user = %b%, ..., status != 4*, bytes>10,]`,
	} {
		f.Add(seed, trail)
		f.Add(seed, `127.0.0.1 - frank [10/Oct] "GET /" 404 15`)
	}
	f.Fuzz(func(t *testing.T, pattern, event string) {
		p, err := Parse(pattern)
		if err != nil {
			if strings.TrimSpace(pattern) == "" {
				t.Errorf("%q is refused: %v", pattern, err)
			}
			return
		}
		if first := p.Match(event); p.Match(event) != first {
			t.Errorf("%q does not decide on %q", pattern, event)
		}
	})
}

func BenchmarkMatch(b *testing.B) {
	for _, pattern := range []string{"REPORT -Init", `{ $.size > 70 && $.eventType = "Up*" }`, "[..., a, b=4*]"} {
		b.Run(pattern, func(b *testing.B) {
			p, err := Parse(pattern)
			if err != nil {
				b.Fatal(err)
			}
			b.SetBytes(int64(len(trail)))
			for b.Loop() {
				p.Match(trail)
			}
		})
	}
}
