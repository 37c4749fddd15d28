package awsquery

import (
	"encoding/xml"
	"net/http"

	"hearth/internal/awserr"
)

// codes are the names that errors have in the query protocol, where they
// differ from those of the JSON protocols.
var codes = map[string]string{
	"AccessDeniedException":               "AccessDenied",
	"ExpiredTokenException":               "ExpiredToken",
	"ExpiredWebIdentityToken":             "ExpiredTokenException",
	"IncompleteSignatureException":        "IncompleteSignature",
	"InvalidSignatureException":           "SignatureDoesNotMatch",
	"MissingAuthenticationTokenException": "MissingAuthenticationToken",
	"ServiceException":                    "ServiceFailure",
	"UnrecognizedClientException":         "InvalidClientTokenId",
	"ValidationException":                 "ValidationError",
}

// Code is the name that an error has in the query protocol.
func Code(e *awserr.Error) string {
	if code, ok := codes[e.Code]; ok {
		return code
	}
	return e.Code
}

type fault struct {
	XMLName   xml.Name `xml:"ErrorResponse"`
	Type      string   `xml:"Error>Type"`
	Code      string   `xml:"Error>Code"`
	Message   string   `xml:"Error>Message"`
	RequestID string   `xml:"RequestId"`
}

// Fault writes an error as the query protocol has it.
func Fault(e *awserr.Error, requestID string) []byte {
	kind := "Sender"
	if e.HTTPStatus() >= http.StatusInternalServerError {
		kind = "Receiver"
	}
	body, err := xml.Marshal(fault{Type: kind, Code: Code(e), Message: e.Message, RequestID: requestID})
	if err != nil {
		panic(err) // strings only
	}
	return body
}
