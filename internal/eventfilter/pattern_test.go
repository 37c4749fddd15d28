package eventfilter

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
)

// TestInvalid holds what is not a pattern; the first five are recorded from
// AWS.
func TestInvalid(t *testing.T) {
	tests := []string{
		`null`, `"simple string"`, `{"eventSource": "aws:sqs"}`, `{"eventSource": []}`, `{"eventSource": "aws:sqs"`,
		``, `[]`, `{}`, `{"a":{}}`, `{"a":1}`, `{"a":null}`, `{"a":[[1]]}`, `{"a":[1]} {}`, `{"a":[1e999]}`,
		`{"a":[{}]}`, `{"a":[{"prefix":"x","suffix":"y"}]}`, `{"a":[{"unknown":1}]}`, `{"a":[{"prefix":1}]}`,
		`{"a":[{"anything-but":[]}]}`, `{"a":[{"anything-but":[1,"x"]}]}`, `{"a":[{"anything-but":null}]}`, `{"a":[{"anything-but":{"suffix":"x"}}]}`,
		`{"a":[{"numeric":[]}]}`, `{"a":[{"numeric":["<"]}]}`, `{"a":[{"numeric":["!",1]}]}`, `{"a":[{"numeric":["<","1"]}]}`,
		`{"a":[{"numeric":["<",1,">",0]}]}`, `{"a":[{"numeric":[">",1,"<",1]}]}`, `{"a":[{"numeric":["=",6e9]}]}`, `{"a":[{"numeric":["",1]}]}`,
		`{"a":[{"exists":"true"}]}`, `{"$or":[{"a":[1]}]}`, `{"$or":[1,2]}`, `{"$or":[{"a":[1]},{}]}`, `{"$or":{}}`,
		`{"a":["` + strings.Repeat("x", MaxPattern) + `"]}`,
	}
	for _, text := range tests {
		if _, err := Parse(text); !errors.Is(err, ErrInvalid) {
			t.Errorf("%.100s: %v", text, err)
		}
	}
}

func TestMatch(t *testing.T) {
	tests := []struct{ pattern, yes, no string }{
		{`{"a":["x"]}`, `{"a":"x"}`, `{"a":"X"}`},
		{`{"a":["x"]}`, `{"a":["y","x"]}`, `{"a":["y"]}`},
		{`{"a":["x"]}`, `{"a":"x","b":1}`, `{"b":"x"}`},
		{`{"a":[""]}`, `{"a":""}`, `{"a":null}`},
		{`{"a":[null]}`, `{"a":null}`, `{"a":""}`},
		{`{"a":[null]}`, `{"a":null}`, `{}`},
		{`{"a":[true]}`, `{"a":true}`, `{"a":"true"}`},
		{`{"a":[300]}`, `{"a":3.0e2}`, `{"a":"300"}`},
		{`{"a":[9007199254740993]}`, `{"a":9007199254740993}`, `{"a":9007199254740992}`},
		{`{"a":["x",1]}`, `{"a":1}`, `{"a":2}`},
		{`{"a":["x"],"b":["y"]}`, `{"a":"x","b":"y"}`, `{"a":"x"}`},
		{`{"a":{"b":["x"]}}`, `{"a":{"b":"x"}}`, `{"a":{"c":"x"}}`},
		{`{"a":{"b":["x"]}}`, `{"a":[{"b":"y"},{"b":"x"}]}`, `{"a":"b"}`},
		{`{"a":{"b":["x"],"c":["y"]}}`, `{"a":[{"b":"x","c":"y"}]}`, `{"a":[{"b":"x"},{"c":"y"}]}`},
		{`{"a":[{"prefix":"us-"}]}`, `{"a":"us-east-1"}`, `{"a":"eu-us-"}`},
		{`{"a":[{"suffix":".png"}]}`, `{"a":"x.png"}`, `{"a":".png.gif"}`},
		{`{"a":[{"equals-ignore-case":"Kaffee"}]}`, `{"a":"kAFFEE"}`, `{"a":"tee"}`},
		{`{"a":[{"anything-but":"x"}]}`, `{"a":"y"}`, `{"a":"x"}`},
		{`{"a":[{"anything-but":"x"}]}`, `{"a":1}`, `{}`},
		{`{"a":[{"anything-but":[1,2]}]}`, `{"a":3}`, `{"a":2.0}`},
		{`{"a":[{"anything-but":{"prefix":"x"}}]}`, `{"a":"y"}`, `{"a":"xy"}`},
		{`{"a":[{"numeric":["=",5]}]}`, `{"a":5.0}`, `{"a":"5"}`},
		{`{"a":[{"numeric":["<",5]}]}`, `{"a":4.9}`, `{"a":5}`},
		{`{"a":[{"numeric":["<=",5]}]}`, `{"a":5}`, `{"a":5.1}`},
		{`{"a":[{"numeric":[">=",5]}]}`, `{"a":5}`, `{"a":4.9}`},
		{`{"a":[{"numeric":[">",0,"<=",5]}]}`, `{"a":5}`, `{"a":0}`},
		{`{"a":[{"exists":true}]}`, `{"a":null}`, `{"b":1}`},
		{`{"a":[{"exists":true}]}`, `{"a":[0]}`, `{"a":{"b":1}}`},
		{`{"a":[{"exists":false}]}`, `{"b":1}`, `{"a":0}`},
		{`{"a":{"b":[{"exists":false}]}}`, `{}`, `{"a":{"b":0}}`},
		{`{"a":["x",{"exists":false}]}`, `{}`, `{"a":"y"}`},
		{`{"$or":[{"a":["x"]},{"b":["y"]}]}`, `{"b":"y"}`, `{"a":"y","b":"x"}`},
		{`{"c":[1],"$or":[{"a":["x"]},{"b":["y"]}]}`, `{"a":"x","c":1}`, `{"a":"x"}`},
	}
	for _, tt := range tests {
		p, err := Parse(tt.pattern)
		if err != nil {
			t.Errorf("%s: %v", tt.pattern, err)
			continue
		}
		for event, want := range map[string]bool{tt.yes: true, tt.no: false} {
			if got, err := p.MatchJSON([]byte(event)); err != nil || got != want {
				t.Errorf("%s on %s: %t, %v, want %t", tt.pattern, event, got, err, want)
			}
			// Also as decoders make it that are not told to keep numbers.
			var value any
			if err := json.Unmarshal([]byte(event), &value); err != nil {
				t.Fatal(err)
			}
			if got := p.Match(value); got != want && !strings.Contains(event, "9007199254740992") {
				t.Errorf("%s on the value of %s: %t, want %t", tt.pattern, event, got, want)
			}
		}
	}
	p, err := Parse(`{"a":[1]}`)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.MatchJSON([]byte(`{"a":1`)); err == nil {
		t.Error("a broken event was matched")
	}
}

// FuzzPattern looks for patterns and events that cannot be dealt with, and for
// matches that depend on the order in which members are looked at.
func FuzzPattern(f *testing.F) {
	f.Add(`{"a":["x",{"prefix":"y"}],"$or":[{"b":[{"numeric":[">",1,"<",3]}]},{"c":[{"exists":false}]}]}`, `{"a":["x"],"b":2}`)
	f.Add(`{"a":{"b":[{"anything-but":{"prefix":"x"}},null]}}`, `{"a":[[{"b":null}]]}`)
	f.Add(`{"a":[{"equals-ignore-case":"ſ"}]}`, `{"a":"S"}`)
	f.Fuzz(func(t *testing.T, pattern, event string) {
		p, err := Parse(pattern)
		if err != nil {
			if !errors.Is(err, ErrInvalid) {
				t.Fatalf("%q: %v", pattern, err)
			}
			return
		}
		first, err := p.MatchJSON([]byte(event))
		if err != nil {
			return
		}
		again, err := Parse(pattern)
		if err != nil {
			t.Fatalf("%q was a pattern and is none: %v", pattern, err)
		}
		if second, err := again.MatchJSON([]byte(event)); err != nil || second != first {
			t.Fatalf("%q on %q: %t, then %t, %v", pattern, event, first, second, err)
		}
	})
}
