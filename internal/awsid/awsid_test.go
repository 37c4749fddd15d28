package awsid

import (
	"regexp"
	"testing"
)

func TestForms(t *testing.T) {
	seen := make(map[string]bool)
	for range 1000 {
		id, secret := AccessKey(Session)
		unique := Unique("AROA")
		for _, tt := range []struct{ got, pattern string }{
			{id, `^ASIA[A-Z2-7]{16}$`}, {secret, `^[A-Za-z0-9+/]{40}$`}, {unique, `^AROA[A-Z2-7]{17}$`}, {Account(), `^[0-9]{12}$`},
		} {
			if !regexp.MustCompile(tt.pattern).MatchString(tt.got) || seen[tt.got] {
				t.Errorf("%s is not of the form %s, or came before", tt.got, tt.pattern)
			}
			seen[tt.got] = true
		}
	}
}
