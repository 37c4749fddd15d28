package arn

import (
	"regexp"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	full := Function{Partition: "aws", Region: "us-east-1", Account: "123456789012", Name: "hi"}
	qualified := full
	qualified.Qualifier = "7"
	tests := []struct {
		in   string
		want Function
	}{
		{"hi", Function{Name: "hi"}},
		{"hi:live", Function{Name: "hi", Qualifier: "live"}},
		{"hi:$LATEST", Function{Name: "hi", Qualifier: "$LATEST"}},
		{"function:hi", Function{Name: "hi"}},
		{"123456789012:function:hi", Function{Account: "123456789012", Name: "hi"}},
		{"123456789012:function:hi:7", Function{Account: "123456789012", Name: "hi", Qualifier: "7"}},
		{"us-east-1:123456789012:function:hi", Function{Region: "us-east-1", Account: "123456789012", Name: "hi"}},
		{"arn:aws:lambda:us-east-1:123456789012:function:hi", full},
		{"arn:aws:lambda:us-east-1:123456789012:function:hi:7", qualified},
		{"arn:aws-cn:lambda:cn-north-1:123456789012:function:hi", Function{"aws-cn", "cn-north-1", "123456789012", "hi", ""}},
		{"arn:aws-us-gov:lambda:us-gov-west-1:123456789012:function:hi", Function{"aws-us-gov", "us-gov-west-1", "123456789012", "hi", ""}},
		{"function:$LATEST", Function{Name: "function", Qualifier: "$LATEST"}},
		{"function", Function{Name: "function"}},
		{"123456789012", Function{Name: "123456789012"}},
	}
	for _, tt := range tests {
		got, err := Parse(tt.in)
		if err != nil || got != tt.want {
			t.Errorf("Parse(%q) = %+v, %v; want %+v", tt.in, got, err, tt.want)
		}
	}
}

func TestParseMalformed(t *testing.T) {
	for _, in := range []string{
		"", ":", "hi:", ":live", "hi:live:more", "hi there", "hé", "hi:$latest", "hi:$", "a/b",
		"arn:aws:s3:us-east-1:123456789012:function:hi",
		"arn:aws:lambda", "arn:gcp:lambda:us-east-1:123456789012:function:hi",
		"arn:aws:lambda:us-east-1:12345:function:hi",
		"arn:aws:lambda:us-east-1:123456789012:layer:hi:1:2",
		"arn:aws:lambda:us-east-1:123456789012:function:",
		"hi\n", "hi\x00",
	} {
		if got, err := Parse(in); err == nil {
			t.Errorf("Parse(%q) = %+v, want an error", in, got)
		}
	}
}

func TestString(t *testing.T) {
	f := Function{Region: "us-east-1", Account: "123456789012", Name: "hi", Qualifier: "live"}
	if got, want := f.String(), "arn:aws:lambda:us-east-1:123456789012:function:hi:live"; got != want {
		t.Errorf("String() = %q, want %q", got, want)
	}
}

// model is the pattern of NamespacedFunctionName in AWS's API model.
var model = regexp.MustCompile(`^(arn:(aws[a-zA-Z-]*)?:lambda:)?([a-z]{2}((-gov)|(-iso([a-z]?)))?-[a-z]+-\d{1}:)?(\d{12}:)?(function:)?([a-zA-Z0-9-_\.]+)(:(\$LATEST(\.PUBLISHED)?|[a-zA-Z0-9-_]+))?$`)

// FuzzParse holds the parser against the model's pattern, and a parsed name
// against its own text.
func FuzzParse(f *testing.F) {
	for _, s := range []string{"hi", "hi:live", "123456789012:function:hi:1", "arn:aws:lambda:us-east-1:123456789012:function:hi:$LATEST", "us-iso-east-1:x", "a-b-1:c"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, err := Parse(s)
		if strings.HasPrefix(s, "arn::") {
			return // the model lets the partition be empty; AWS does not serve it
		}
		if (err == nil) != model.MatchString(s) {
			t.Fatalf("Parse(%q) = %+v, %v; the model's pattern says %v", s, got, err, model.MatchString(s))
		}
		if err != nil || got.Region == "" || got.Account == "" {
			return
		}
		again, err := Parse(got.String())
		want := got
		if want.Partition == "" {
			want.Partition = "aws"
		}
		if err != nil || again != want {
			t.Fatalf("Parse(%q) = %+v, %v; want %+v", got.String(), again, err, want)
		}
	})
}
