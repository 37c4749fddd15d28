package awsquery

import (
	"net/url"
	"reflect"
	"testing"

	"hearth/internal/awserr"
)

func TestAnswer(t *testing.T) {
	type item struct{ Name string }
	type result struct {
		Empty List[string]
		Items List[item]
		Left  List[item] `xml:",omitempty"`
		Text  string
	}
	c := &Call{RequestID: "id"}
	full := &result{Items: List[item]{{"a&b"}, {"c"}}, Text: "<x>"}
	for _, tt := range []struct {
		what   string
		result any
		want   string
	}{
		{"a result", full, `<DoResponse xmlns="urn:x"><DoResult><Empty></Empty><Items><member><Name>a&amp;b</Name></member><member><Name>c</Name></member></Items>` +
			`<Text>&lt;x&gt;</Text></DoResult><ResponseMetadata><RequestId>id</RequestId></ResponseMetadata></DoResponse>`},
		{"none", nil, `<DoResponse xmlns="urn:x"><ResponseMetadata><RequestId>id</RequestId></ResponseMetadata></DoResponse>`},
		{"fields", Fields{{"L", List[string]{}}, {"M", Map{{"k", 1}}}, {"B", false}}, `<DoResponse xmlns="urn:x"><DoResult><L></L><M><entry><key>k</key><value>1</value></entry></M>` +
			`<B>false</B></DoResult><ResponseMetadata><RequestId>id</RequestId></ResponseMetadata></DoResponse>`},
	} {
		got, err := c.Answer("Do", "urn:x", tt.result)
		if err != nil || string(got) != tt.want {
			t.Errorf("%s: got  %s, %v\nwant %s", tt.what, got, err, tt.want)
		}
	}
	c.JSON = true
	got, err := c.Answer("Do", "urn:x", full)
	want := `{"DoResponse":{"DoResult":{"Empty":[],"Items":[{"Name":"a\u0026b"},{"Name":"c"}],"Left":[],"Text":"\u003cx\u003e"},"ResponseMetadata":{"RequestId":"id"}}}`
	if err != nil || string(got) != want {
		t.Errorf("JSON: got %s, %v\nwant %s", got, err, want)
	}
}

func TestFault(t *testing.T) {
	for code, want := range map[string]string{
		"UnrecognizedClientException": "InvalidClientTokenId", "InvalidSignatureException": "SignatureDoesNotMatch",
		"ExpiredTokenException": "ExpiredToken", "ExpiredWebIdentityToken": "ExpiredTokenException", "NoSuchEntity": "NoSuchEntity",
		"AccessDeniedException": "AccessDenied",
	} {
		got := string(Fault(awserr.New(code, "a < b"), "id"))
		if full := "<ErrorResponse><Error><Type>Sender</Type><Code>" + want + "</Code><Message>a &lt; b</Message></Error><RequestId>id</RequestId></ErrorResponse>"; got != full {
			t.Errorf("%s: got %s\nwant %s", code, got, full)
		}
	}
	if got := string(Fault(awserr.Internal(), "id")); got[:43] != "<ErrorResponse><Error><Type>Receiver</Type>" {
		t.Errorf("a fault: %s", got)
	}
}

func TestLists(t *testing.T) {
	form, err := url.ParseQuery("A.member.1=x&A.member.2=&A.member.4=lost&T.member.1.Key=k&T.member.1.Value=v&T.member.2.Key=l")
	if err != nil {
		t.Fatal(err)
	}
	c := &Call{Form: form}
	if got := c.List("A"); !reflect.DeepEqual(got, []string{"x", ""}) {
		t.Errorf("list %q", got)
	}
	if got := c.Pairs("T", "Key", "Value"); !reflect.DeepEqual(got, map[string]string{"k": "v", "l": ""}) {
		t.Errorf("pairs %q", got)
	}
	if got := c.List("B"); got != nil {
		t.Errorf("no list %q", got)
	}
}
