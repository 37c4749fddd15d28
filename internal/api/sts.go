package api

import (
	"encoding/json"
	"encoding/xml"
	"mime"
	"net/http"
	"net/url"
	"strings"

	"hearth/internal/awserr"
	"hearth/internal/sigv4"
)

const (
	stsNamespace = "https://sts.amazonaws.com/doc/2011-06-15/"
	// maxForm bounds a request of the query protocol.
	maxForm = 64 << 10
)

// caller is who asks, as GetCallerIdentity answers.
type caller struct {
	ARN     string `json:"Arn"     xml:"Arn"`
	UserID  string `json:"UserId"  xml:"UserId"`
	Account string `json:"Account" xml:"Account"`
}

type callerAnswer struct {
	XMLName   xml.Name `json:"-"                       xml:"GetCallerIdentityResponse"`
	Namespace string   `json:"-"                       xml:"xmlns,attr"`
	Result    caller   `json:"GetCallerIdentityResult" xml:"GetCallerIdentityResult"`
	Metadata  metadata `json:"ResponseMetadata"        xml:"ResponseMetadata"`
}

type metadata struct {
	RequestID string `json:"RequestId" xml:"RequestId"`
}

// serveSTS serves the query protocol of STS.
func (s *Server) serveSTS(c *call, p *sigv4.Pending) error {
	body, err := readBody(c, p, maxForm)
	if err != nil {
		return err
	}
	form := c.r.URL.Query()
	if c.r.Method == http.MethodPost {
		if form, err = url.ParseQuery(string(body)); err != nil {
			return awserr.New("SerializationException", "The body is not a form.")
		}
	}
	if action := form.Get("Action"); action != "GetCallerIdentity" {
		return awserr.New("InvalidAction", "Could not find operation %s for version %s", clip(action), clip(form.Get("Version")))
	}
	out := callerAnswer{
		Namespace: stsNamespace,
		Result:    caller{ARN: c.PrincipalARN, UserID: c.UserID, Account: c.AccountID},
		Metadata:  metadata{RequestID: c.id},
	}
	a := &answer{status: http.StatusOK}
	if strings.Contains(c.r.Header.Get("Accept"), "application/json") {
		a.header = jsonHeader()
		a.body, err = json.Marshal(map[string]callerAnswer{"GetCallerIdentityResponse": out})
	} else {
		a.header = http.Header{"Content-Type": {"text/xml"}}
		a.body, err = xml.Marshal(out)
	}
	if err != nil {
		return err
	}
	s.write(c, a)
	return nil
}

// speaksQuery says that the client speaks AWS's query protocol, whose errors
// are XML.
func speaksQuery(c *call) bool {
	if c.Scope.Service == "sts" {
		return !strings.Contains(c.r.Header.Get("Accept"), "application/json")
	}
	kind, _, _ := mime.ParseMediaType(c.r.Header.Get("Content-Type"))
	return kind == "application/x-www-form-urlencoded"
}
