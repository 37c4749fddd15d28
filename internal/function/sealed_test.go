package function

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
)

func TestEnvironmentsAreStoredSealedOnly(t *testing.T) {
	c := &Config{Environment: map[string]string{"PASSWORD": "hunter2"}, Sealed: SealedEnvironment{Sealed: []byte("sealed")}}
	b, err := json.Marshal(c)
	if err != nil || strings.Contains(string(b), "hunter2") || strings.Contains(string(b), "PASSWORD") || !strings.Contains(string(b), `"environment":"c2VhbGVk"`) {
		t.Errorf("%s, %v", b, err)
	}
	var back Config
	if err := json.Unmarshal(b, &back); err != nil || string(back.Sealed.Sealed) != "sealed" || back.Environment != nil {
		t.Errorf("%+v, %v", back, err)
	}
	if b, err := json.Marshal(&Config{}); err != nil || strings.Contains(string(b), "environment") {
		t.Errorf("%s, %v", b, err)
	}
	if b, err := json.Marshal(&Config{Sealed: SealedEnvironment{Clear: map[string]string{"A": "b"}}}); err == nil {
		t.Errorf("stored in the clear: %s", b)
	}
	for in, want := range map[string]SealedEnvironment{
		`{"environment":{"A":"b"}}`:  {Clear: map[string]string{"A": "b"}},
		`{"environment":{}}`:         {Clear: map[string]string{}},
		`{"environment":null}`:       {},
		`{"environment":"c2VhbGVk"}`: {Sealed: []byte("sealed")},
	} {
		var c Config
		if err := json.Unmarshal([]byte(in), &c); err != nil || !reflect.DeepEqual(c.Sealed, want) {
			t.Errorf("%s: %+v, %v", in, c.Sealed, err)
		}
		if d := c.Clone(); !reflect.DeepEqual(d.Sealed, want) {
			t.Errorf("%s: the clone is %+v", in, d.Sealed)
		}
	}
	for _, in := range []string{`{"environment":""}`, `{"environment":7}`, `{"environment":["A"]}`, `{"environment":{"A":7}}`, `{"environment":"%"}`} {
		if err := json.Unmarshal([]byte(in), &c); err == nil {
			t.Errorf("%s: accepted", in)
		}
	}
}
