package policy

import (
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"
)

var kinds = map[string]Kind{
	"identity": KindIdentity, "boundary": KindBoundary, "session": KindSession, "resource": KindResource, "trust": KindTrust,
}

// TestMalformed parses what AWS refuses: the words, the place and the reason.
func TestMalformed(t *testing.T) {
	raw, err := os.ReadFile("testdata/malformed/malformed.json")
	if err != nil {
		t.Fatal(err)
	}
	var cases []struct{ Name, Page, Kind, Document, Want string }
	if err := json.Unmarshal(raw, &cases); err != nil {
		t.Fatal(err)
	}
	for _, c := range cases {
		t.Run(c.Name, func(t *testing.T) {
			_, err := Parse(kinds[c.Kind], c.Name, []byte(c.Document))
			if _, ok := errors.AsType[*MalformedError](err); !ok {
				t.Fatalf("got %v, want a MalformedError; see %s", err, c.Page)
			}
			if err.Error() != c.Want {
				t.Errorf("got  %s\nwant %s", err, c.Want)
			}
		})
	}
}

// TestBounds parses documents that are too large, or made to be slow.
func TestBounds(t *testing.T) {
	statement := `{"Effect":"Allow","Action":"s3:*","Resource":"*"}`
	list := func(n int) string { return "[" + strings.TrimSuffix(strings.Repeat(statement+",", n), ",") + "]" }
	for name, tt := range map[string]struct {
		document string
		ok       bool
	}{
		"white space does not count":    {`{"Statement":` + strings.Repeat(" ", MaxSize) + statement + `}`, true},
		"too much white space":          {`{"Statement":` + strings.Repeat(" ", MaxRaw) + statement + `}`, false},
		"many statements":               {`{"Statement":` + list(400) + `}`, true},
		"too many statements":           {`{"Statement":` + list(600) + `}`, false},
		"deep lists":                    {`{"Statement":` + strings.Repeat("[", 20000), false},
		"deep objects":                  {`{"Statement":` + strings.Repeat(`{"Condition":`, 1500), false},
		"deep lists as a value":         {`{"Statement":[{"Action":` + strings.Repeat("[", 20000), false},
		"not UTF-8":                     {"{\"Id\":\"\xff\",\"Statement\":" + statement + "}", false},
		"half a surrogate, as JSON may": {`{"Id":"\ud800","Statement":` + statement + `}`, true},
	} {
		_, err := Parse(KindIdentity, "", []byte(tt.document))
		if (err == nil) != tt.ok {
			t.Errorf("%s: %v", name, err)
		}
		if err != nil && len(err.Error()) > 1000 {
			t.Errorf("%s: the error has %d bytes", name, len(err.Error()))
		}
	}
}

func TestSize(t *testing.T) {
	d := mustParse(t, KindIdentity, "{ \"Statement\" :\n\t{\"Effect\":\"Allow\",\"Action\":\"s3:*\",\"Resource\":\"*\"}}")
	if want := len(`{"Statement":{"Effect":"Allow","Action":"s3:*","Resource":"*"}}`); d.Size() != want {
		t.Errorf("size %d, want %d", d.Size(), want)
	}
}

func TestMarshal(t *testing.T) {
	const want = `{"Version":"2012-10-17","Id":"default","Statement":[` +
		`{"Sid":"a","Effect":"Allow","Principal":{"AWS":["111122223333","*"],"Service":"s3.amazonaws.com"},"Action":["s3:<Get>*","s3:List*"],"NotResource":"arn:aws:s3:::a&b",` +
		`"Condition":{"StringEquals":{"aws:SecureTransport":"true","aws:x":["1","2"]},"StringLike":{"aws:y":"\"q\""}}},` +
		`{"Effect":"Deny","NotPrincipal":{"AWS":"111122223333"},"NotAction":"s3:*","Resource":"*"}]}`
	d, err := Parse(KindResource, "", []byte(strings.ReplaceAll(want, "s3:<Get>*", "s3:Get*")))
	if err != nil {
		t.Fatal(err)
	}
	got, err := json.Marshal(d)
	if err != nil || string(got) != strings.ReplaceAll(strings.ReplaceAll(want, "s3:<Get>*", "s3:Get*"), "&", `\u0026`) {
		t.Errorf("json.Marshal: %s, %v", got, err)
	}
	if got, _ := d.MarshalJSON(); string(got) != strings.ReplaceAll(want, "s3:<Get>*", "s3:Get*") {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func mustParse(t testing.TB, kind Kind, raw string) *Document {
	t.Helper()
	d, err := Parse(kind, "", []byte(raw))
	if err != nil {
		t.Fatalf("%s: %v", raw, err)
	}
	return d
}
