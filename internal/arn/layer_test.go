package arn

import "testing"

func TestParseLayer(t *testing.T) {
	for _, tt := range []struct {
		in   string
		want Layer
		ok   bool
	}{
		{"tools", Layer{Name: "tools"}, true},
		{"a-b_C9", Layer{Name: "a-b_C9"}, true},
		{"arn:aws:lambda:us-east-1:123456789012:layer:tools", Layer{"us-east-1", "123456789012", "tools", 0}, true},
		{"arn:aws-cn:lambda:eu-west-2:123456789012:layer:tools:7", Layer{"eu-west-2", "123456789012", "tools", 7}, true},
		{in: ""},
		{in: "tools:1"},
		{in: "a.b"},
		{in: "a/b"},
		{in: "arn:aws:lambda:us-east-1:123456789012:layer:"},
		{in: "arn:aws:lambda:us-east-1:123456789012:layer:tools:"},
		{in: "arn:aws:lambda:us-east-1:123456789012:layer:tools:01"},
		{in: "arn:aws:lambda:us-east-1:123456789012:layer:tools:-1"},
		{in: "arn:aws:lambda:us-east-1:123456789012:layer:tools:99999999999999999999"},
		{in: "arn:aws:lambda:us-east-1:123456789012:layer:tools:1:2"},
		{in: "arn:aws:lambda:us-east-1:123456789012:function:tools"},
		{in: "arn:aws:lambda:us-east-1:12345678901:layer:tools"},
		{in: "arn:aws:lambda:nowhere:123456789012:layer:tools"},
		{in: "arn:aws:s3:us-east-1:123456789012:layer:tools"},
	} {
		got, err := ParseLayer(tt.in)
		if got != tt.want || (err == nil) != tt.ok {
			t.Errorf("ParseLayer(%q) = %+v, %v, want %+v, ok %v", tt.in, got, err, tt.want, tt.ok)
		}
	}
}

func FuzzParseLayer(f *testing.F) {
	f.Add("tools")
	f.Add("arn:aws:lambda:us-east-1:123456789012:layer:tools:7")
	f.Fuzz(func(t *testing.T, s string) {
		l, err := ParseLayer(s)
		if err != nil || l.Account == "" {
			return
		}
		if again, err := ParseLayer(l.String()); err != nil || again != l {
			t.Errorf("%q is %+v, whose name %q is %+v, %v", s, l, l.String(), again, err)
		}
	})
}
