package policy

import "fmt"

// MalformedError says why a document is not a policy. Its code on the wire is
// MalformedPolicyDocument in IAM and STS.
type MalformedError struct {
	// Reason is AWS's sentence.
	Reason string
	// Where is the element, as Statement[1].Condition.Bool; empty for the whole.
	Where string
	// Detail says what is wrong there; it may be empty.
	Detail string
}

// Error is AWS's sentence, then the place and what is wrong with it.
func (e *MalformedError) Error() string {
	switch {
	case e.Where == "" && e.Detail == "":
		return e.Reason
	case e.Where == "":
		return e.Reason + " (" + e.Detail + ")"
	case e.Detail == "":
		return e.Reason + " (at " + e.Where + ")"
	}
	return e.Reason + " (at " + e.Where + ": " + e.Detail + ")"
}

// AWS's sentences.
const (
	reasonSyntax       = "Syntax errors in policy."
	reasonPrincipal    = "Policy document should not specify a principal."
	reasonSids         = "Statement IDs (SID) in a single policy must be unique."
	reasonSidLetters   = "Statement IDs (SID) must be alpha-numeric. Check that your input satisfies the regular expression [0-9A-Za-z]*"
	reasonNoAction     = "Policy statement must contain actions."
	reasonNoResource   = "Policy statement must contain resources."
	reasonNoPrincipal  = "Missing required field Principal"
	reasonVendor       = "Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc."
	reasonColons       = "Actions/Condition can contain only one colon."
	reasonProhibited   = "Has prohibited field Resource"
	reasonTrustActions = "AssumeRole policy may only specify STS AssumeRole actions."
	reasonWildService  = "Resource vendor must be fully qualified and cannot contain regexes."
	reasonLegacy       = "The policy failed legacy parsing"
)

func syntax(where, format string, args ...any) error {
	return &MalformedError{Reason: reasonSyntax, Where: where, Detail: brief(fmt.Sprintf(format, args...))}
}

func malformed(where, reason string) error {
	return &MalformedError{Reason: brief(reason), Where: where}
}

// brief cuts what quotes the document: errors are shown and logged.
func brief(s string) string {
	const limit = 400
	if len(s) <= limit {
		return s
	}
	return s[:limit] + "…"
}
