package policy

import (
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// PrincipalKind is what sort of principal makes a request.
type PrincipalKind uint8

// The sorts of principals.
const (
	// Anonymous made a request without a signature. Only ARN may be set.
	Anonymous PrincipalKind = iota
	// RootUser is the root user of an account.
	RootUser
	// User is an IAM user, with long-lived or session keys.
	User
	// RoleSession is who assumed a role. Issuer is the role's ARN.
	RoleSession
	// FederatedUser has keys of GetFederationToken. Issuer is the user's ARN.
	FederatedUser
	// Service is a service of AWS's or Hearth's own; ARN is its name, such as
	// lambda.amazonaws.com.
	Service
	// Federated is somebody of an identity provider who has no session yet:
	// the caller of AssumeRoleWithWebIdentity. ARN is the provider.
	Federated
)

// Principal is who makes a request. It does not change during one.
type Principal struct {
	Kind    PrincipalKind
	Account string // 12 digits; empty for Anonymous, Service and Federated
	// ARN is how messages call the principal: of the user, of the session
	// (arn:aws:sts::ACCOUNT:assumed-role/ROLE/SESSION), of the account's root.
	ARN string
	// Issuer is whose session it is; it has the role's path, which the
	// session's ARN lacks.
	Issuer string
	// ID is aws:userid: of a user AIDA…, of a session AROA…:SESSION.
	ID string
	// Name is aws:username: of a User only.
	Name string
	// Tags are those of the user or role, and of the session.
	Tags []Tag
}

// Tag is a tag of a principal.
type Tag struct{ Key, Value string }

// Request is one thing that one principal wants to do to one resource.
type Request struct {
	Principal *Principal
	// Action is SERVICE:OPERATION, as lambda:InvokeFunction.
	Action string
	// Resource is an ARN, or "*" for what concerns no single resource.
	Resource string
	// ResourceAccount owns the resource. For "*" it is the account that is
	// looked at or changed, as a rule the caller's own.
	ResourceAccount string
	// MustGrant says that the resource's own policy must allow the request
	// even in the same account, as those of KMS keys must. Trust policies
	// always must.
	MustGrant bool
	Keys      Keys
}

// Keys are the values of condition keys in a request. The zero value has none.
type Keys struct {
	// Time is aws:CurrentTime and aws:EpochTime.
	Time time.Time
	// SourceIP is aws:SourceIp.
	SourceIP netip.Addr

	entries []entry
	long    bool // a value is longer than is compared
}

// Bounds of what is compared with a policy. A request that has more of a key
// that a policy looks at is not allowed: the work of a decision is the product
// of the two lengths, and part of a value must not pass for all of it.
const (
	maxResource = 2048 // an ARN's longest
	maxValue    = 2048 // of one value
	maxValues   = 8192 // of all values of a key
)

type entry struct {
	name string
	one  string
	many []string // instead of one
}

func (e *entry) tooLong() bool {
	total := 0
	for _, value := range e.many {
		if total += len(value); len(value) > maxValue {
			return true
		}
	}
	return len(e.one) > maxValue || total > maxValues
}

// tooLong names the first of the keys that has more than is compared.
func (k *Keys) tooLong(keys []key) string {
	for i := range keys {
		if e := k.find(keys[i].name); e != nil && e.tooLong() {
			return e.name
		}
	}
	return ""
}

// Set sets a key to one value.
func (k *Keys) Set(name, value string) { k.put(entry{name: strings.ToLower(name), one: value}) }

// SetBool sets a key to "true" or "false".
func (k *Keys) SetBool(name string, value bool) { k.Set(name, strconv.FormatBool(value)) }

// SetTime sets a key to a time.
func (k *Keys) SetTime(name string, value time.Time) { k.Set(name, value.UTC().Format(time.RFC3339)) }

// SetList sets a key of several values. Without any the key is absent.
func (k *Keys) SetList(name string, values []string) {
	if values == nil {
		values = []string{}
	}
	k.put(entry{name: strings.ToLower(name), many: values})
}

// SetTags sets a key for each tag. Tags whose names differ in case only are
// one key of several values.
func (k *Keys) SetTags(family Tags, tags map[string]string) {
	for name, value := range tags {
		lower := string(family) + strings.ToLower(name)
		if e := k.find(lower); e != nil {
			if e.many == nil {
				e.many = []string{e.one}
			}
			e.many = append(e.many, value)
			k.long = k.long || e.tooLong()
			continue
		}
		k.put(entry{name: lower, one: value})
	}
}

func (k *Keys) put(e entry) {
	k.long = k.long || e.tooLong()
	if old := k.find(e.name); old != nil {
		*old = e
		return
	}
	if k.entries == nil {
		const usual = 8
		k.entries = make([]entry, 0, usual)
	}
	k.entries = append(k.entries, e)
}

func (k *Keys) find(lower string) *entry {
	for i := range k.entries {
		if k.entries[i].name == lower {
			return &k.entries[i]
		}
	}
	return nil
}

// found is the value of a key. Times and addresses stay what they are until
// somebody wants text.
type found struct {
	present bool
	one     string
	many    []string
	time    time.Time
	epoch   bool
	addr    netip.Addr
}

func (f *found) len() int {
	switch {
	case f.many != nil:
		return len(f.many)
	case f.present:
		return 1
	}
	return 0
}

func (f *found) at(i int) string {
	switch {
	case f.many != nil:
		return f.many[i]
	case f.epoch:
		return strconv.FormatInt(f.time.Unix(), 10)
	case !f.time.IsZero():
		return f.time.UTC().Format(time.RFC3339)
	case f.addr.IsValid():
		return f.addr.String()
	}
	return f.one
}

func (r *Request) lookup(k *key) found {
	switch k.builtin {
	case notBuiltin:
		if e := r.Keys.find(k.name); e != nil {
			return found{present: true, one: e.one, many: e.many}
		}
		return found{}
	case builtinCurrentTime, builtinEpochTime:
		return found{present: !r.Keys.Time.IsZero(), time: r.Keys.Time, epoch: k.builtin == builtinEpochTime}
	case builtinSourceIP:
		return found{present: r.Keys.SourceIP.IsValid(), addr: r.Keys.SourceIP.Unmap()}
	case builtinPrincipalTag:
		return r.Principal.tag(k.tag)
	case builtinResourceAccount:
		return text(r.ResourceAccount)
	default:
		return r.Principal.lookup(k.builtin)
	}
}

func text(s string) found { return found{present: s != "", one: s} }

// lookup follows the table of principal keys in
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_variables.html#principaltable
func (p *Principal) lookup(k builtin) found {
	switch k {
	case builtinPrincipalARN:
		switch p.Kind {
		case RoleSession:
			return text(p.Issuer)
		case RootUser, User, FederatedUser:
			return text(p.ARN)
		default:
			return found{}
		}
	case builtinPrincipalAccount:
		return text(p.Account)
	case builtinPrincipalType:
		return text(p.kindName())
	case builtinPrincipalIsService:
		return text(strconv.FormatBool(p.Kind == Service))
	case builtinPrincipalService:
		if p.Kind == Service {
			return text(p.ARN)
		}
	case builtinUserID:
		if p.Kind == Anonymous {
			return text("anonymous")
		}
		return text(p.ID)
	case builtinUserName:
		if p.Kind == User {
			return text(p.Name)
		}
	default:
	}
	return found{}
}

// tag finds a tag whatever its case; the values of several are all found.
func (p *Principal) tag(lower string) found {
	var f found
	for _, t := range p.Tags {
		if !strings.EqualFold(t.Key, lower) {
			continue
		}
		if f.present {
			if f.many == nil {
				f.many = []string{f.one}
			}
			f.many = append(f.many, t.Value)
			continue
		}
		f.present, f.one = true, t.Value
	}
	return f
}

func (p *Principal) kindName() string {
	switch p.Kind {
	case Anonymous:
		return "Anonymous"
	case RootUser:
		return "Account"
	case User:
		return "User"
	case RoleSession:
		return "AssumedRole"
	case FederatedUser:
		return "FederatedUser"
	default:
		return ""
	}
}
