// Package awsquery is AWS's query protocol, which IAM and STS speak: requests
// are forms with an Action, answers are XML. It is a leaf: no I/O.
//
// See https://smithy.io/2.0/aws/protocols/aws-query-protocol.html.
package awsquery

import (
	"encoding/json"
	"encoding/xml"
	"fmt"
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"hearth/internal/sigv4"
)

// maxList bounds the items of one list parameter.
const maxList = 1000

// Call is one request.
type Call struct {
	// Caller is nil for a request without a signature.
	Caller    *sigv4.Identity
	Service   string // iam or sts
	Form      url.Values
	RequestID string
	SourceIP  netip.Addr
	Secure    bool
	UserAgent string
	// JSON says that the caller wants the answer in JSON, as STS offers.
	JSON bool
}

// Get reads a parameter, empty if it is not there.
func (c *Call) Get(name string) string { return c.Form.Get(name) }

// Has says whether a parameter is there.
func (c *Call) Has(name string) bool { return c.Form.Has(name) }

// List reads a list parameter: name.member.1, name.member.2 and so on.
func (c *Call) List(name string) []string {
	var all []string
	for i := 1; i <= maxList; i++ {
		item := name + ".member." + strconv.Itoa(i)
		if !c.Has(item) {
			break
		}
		all = append(all, c.Get(item))
	}
	return all
}

// Pairs reads a list of pairs: name.member.N.key and name.member.N.value.
func (c *Call) Pairs(name, key, value string) map[string]string {
	all := make(map[string]string)
	for i := 1; i <= maxList; i++ {
		item := name + ".member." + strconv.Itoa(i) + "."
		if !c.Has(item + key) {
			break
		}
		all[c.Get(item+key)] = c.Get(item + value)
	}
	return all
}

// Answer writes an action's result, which may be nil, in its envelope. The
// action must be one that is known, as it becomes the name of an element.
func (c *Call) Answer(action, namespace string, result any) ([]byte, error) {
	if c.JSON {
		return json.Marshal(map[string]any{action + "Response": map[string]any{
			action + "Result": result, "ResponseMetadata": map[string]string{"RequestId": c.RequestID},
		}})
	}
	var b strings.Builder
	b.WriteString("<" + action + `Response xmlns="` + namespace + `">`)
	if result != nil {
		e := xml.NewEncoder(&b)
		if err := e.EncodeElement(result, xml.StartElement{Name: xml.Name{Local: action + "Result"}}); err != nil {
			return nil, fmt.Errorf("awsquery: write the answer of %s: %w", action, err)
		}
	}
	b.WriteString("<ResponseMetadata><RequestId>" + c.RequestID + "</RequestId></ResponseMetadata></" + action + "Response>")
	return []byte(b.String()), nil
}
