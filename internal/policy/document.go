package policy

import (
	"bytes"
	"encoding/json"
	"strings"
	"sync/atomic"
	"unicode"
	"unicode/utf8"
)

// Kind is the type of a policy: what it is attached to decides what it may
// contain and how it is evaluated.
type Kind uint8

// The types of policies.
const (
	KindNone     Kind = iota
	KindIdentity      // of a user, group or role
	KindBoundary      // a permissions boundary
	KindSession       // passed when a session was made
	KindResource      // of a function, layer, queue, key…
	KindTrust         // of a role: who may assume it
)

// String is the type's name in AWS's messages.
func (k Kind) String() string {
	switch k {
	case KindIdentity:
		return "identity-based policy"
	case KindBoundary:
		return "permissions boundary"
	case KindSession:
		return "session policy"
	case KindResource:
		return "resource-based policy"
	case KindTrust:
		return "role trust policy"
	default:
		return "no policy"
	}
}

// namesPrincipals says that statements of the type have a Principal element.
func (k Kind) namesPrincipals() bool { return k == KindResource || k == KindTrust }

// Bounds of a document. IAM counts no white space against its quotas
// (https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html).
const (
	// MaxRaw is the longest document that IAM's API takes, in bytes.
	MaxRaw = 131072
	// MaxSize is the largest quota there is, which is that of Lambda's
	// resource policies. Callers compare Size with their own.
	MaxSize = 20480

	QuotaManaged     = 6144  // of a managed policy
	QuotaInlineUser  = 2048  // of all inline policies of a user
	QuotaInlineGroup = 5120  // of all inline policies of a group
	QuotaInlineRole  = 10240 // of all inline policies of a role
	QuotaTrust       = 2048  // of a trust policy
	QuotaSession     = 2048  // of a session policy
)

// Versions of the policy language. Only the newer one has variables.
const (
	Version2008 = "2008-10-17"
	Version2012 = "2012-10-17"
)

// Document is a parsed policy. It does not change and is safe for concurrent use.
type Document struct {
	// Name is what the audit log calls the policy: an ARN, or the name of an
	// inline policy.
	Name string
	Kind Kind

	Version    string
	ID         string
	Statements []Statement

	serial   uint64
	size     int
	compiled []statement
	keys     []key // what any statement looks at, without repetitions
	volatile bool  // keys are among them that no two requests agree in
}

// serials number documents and sets. Caches tell policies apart by them.
var serials atomic.Uint64

// Parse reads a policy of a type. Its errors are *MalformedError.
func Parse(kind Kind, name string, raw []byte) (*Document, error) {
	if len(raw) > MaxRaw {
		return nil, syntax("", "the document is %d bytes long; at most %d are read", len(raw), MaxRaw)
	}
	if !utf8.Valid(raw) {
		return nil, syntax("", "the document is not UTF-8")
	}
	size := sizeOf(raw)
	if size > MaxSize {
		return nil, syntax("", "the document has %d characters without white space; at most %d are read", size, MaxSize)
	}
	d := &Document{Name: name, Kind: kind, size: size}
	if err := d.decode(raw); err != nil {
		return nil, err
	}
	if err := d.validate(); err != nil {
		return nil, err
	}
	if err := d.compile(); err != nil {
		return nil, err
	}
	d.serial = serials.Add(1)
	return d, nil
}

// Size is the length that IAM's quotas count: without white space.
func (d *Document) Size() int { return d.size }

func sizeOf(raw []byte) int {
	n := 0
	for _, r := range string(raw) {
		if !unicode.IsSpace(r) {
			n += utf8.RuneLen(r)
		}
	}
	return n
}

// MarshalJSON writes the policy as AWS's services show theirs: elements in a
// fixed order, no white space, single values without brackets.
func (d *Document) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	if d.Version != "" {
		b.WriteString(`"Version":` + quote(d.Version) + ",")
	}
	if d.ID != "" {
		b.WriteString(`"Id":` + quote(d.ID) + ",")
	}
	b.WriteString(`"Statement":[`)
	for i := range d.Statements {
		if i > 0 {
			b.WriteByte(',')
		}
		d.Statements[i].write(&b)
	}
	b.WriteString("]}")
	return b.Bytes(), nil
}

// quote writes a JSON string without escaping <, > and &, as AWS does.
func quote(s string) string {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(s); err != nil {
		panic("policy: a string has no JSON: " + err.Error())
	}
	return strings.TrimSuffix(b.String(), "\n")
}
