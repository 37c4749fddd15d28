package policy

import (
	"strings"
)

// Names of condition keys that callers set with [Keys.Set]. Case does not
// matter; these are in the lower case that lookups use.
const (
	KeySourceARN                  = "aws:sourcearn"
	KeySourceAccount              = "aws:sourceaccount"
	KeySourceOrgID                = "aws:sourceorgid"
	KeyPrincipalOrgID             = "aws:principalorgid"
	KeySecureTransport            = "aws:securetransport"
	KeyUserAgent                  = "aws:useragent"
	KeyReferer                    = "aws:referer"
	KeyRequestedRegion            = "aws:requestedregion"
	KeyTagKeys                    = "aws:tagkeys"
	KeyTokenIssueTime             = "aws:tokenissuetime"
	KeyMFAPresent                 = "aws:multifactorauthpresent"
	KeyMFAAge                     = "aws:multifactorauthage"
	KeyViaAWSService              = "aws:viaawsservice"
	KeyCalledVia                  = "aws:calledvia"
	KeyFederatedProvider          = "aws:federatedprovider"
	KeyPassedToService            = "iam:passedtoservice"
	KeyAssociatedResource         = "iam:associatedresourcearn"
	KeyPermissionsBoundary        = "iam:permissionsboundary"
	KeyPolicyARN                  = "iam:policyarn"
	KeyExternalID                 = "sts:externalid"
	KeyRoleSessionName            = "sts:rolesessionname"
	KeySourceIdentity             = "sts:sourceidentity"
	KeyTransitiveTagKeys          = "sts:transitivetagkeys"
	KeyCodeSigningConfig          = "lambda:codesigningconfigarn"
	KeyEventSourceToken           = "lambda:eventsourcetoken"
	KeyFunctionARN                = "lambda:functionarn"
	KeyFunctionURLAuthType        = "lambda:functionurlauthtype"
	KeyInvokedViaFunctionURL      = "lambda:invokedviafunctionurl"
	KeyLayer                      = "lambda:layer"
	KeyLambdaPrincipal            = "lambda:principal"
	KeySecurityGroupIDs           = "lambda:securitygroupids"
	KeySourceFunctionARN          = "lambda:sourcefunctionarn"
	KeySubnetIDs                  = "lambda:subnetids"
	KeyVPCIDs                     = "lambda:vpcids"
	KeyEncryptionContextKeys      = "kms:encryptioncontextkeys"
	KeyKMSViaService              = "kms:viaservice"
	prefixPrincipalTag            = "aws:principaltag/"
	TagsOfRequest            Tags = "aws:requesttag/"
	TagsOfResource           Tags = "aws:resourcetag/"
	TagsOfEncryptionContext  Tags = "kms:encryptioncontext:"
)

// Tags is a family of keys, one for each tag.
type Tags string

// A key is the name of a condition key in a policy, ready to be looked up.
type key struct {
	name    string // in lower case
	builtin builtin
	tag     string // of a builtinPrincipalTag, in lower case
}

// A builtin is a key that the engine itself knows, from the principal or the
// request; nobody can set it.
type builtin uint8

const (
	notBuiltin builtin = iota
	builtinCurrentTime
	builtinEpochTime
	builtinSourceIP
	builtinPrincipalARN
	builtinPrincipalAccount
	builtinPrincipalType
	builtinPrincipalTag
	builtinPrincipalIsService
	builtinPrincipalService
	builtinUserID
	builtinUserName
	builtinResourceAccount
)

var builtins = map[string]builtin{
	"aws:currenttime":           builtinCurrentTime,
	"aws:epochtime":             builtinEpochTime,
	"aws:sourceip":              builtinSourceIP,
	"aws:principalarn":          builtinPrincipalARN,
	"aws:principalaccount":      builtinPrincipalAccount,
	"aws:principaltype":         builtinPrincipalType,
	"aws:principalisawsservice": builtinPrincipalIsService,
	"aws:principalservicename":  builtinPrincipalService,
	"aws:userid":                builtinUserID,
	"aws:username":              builtinUserName,
	"aws:resourceaccount":       builtinResourceAccount,
}

func keyNamed(name string) key {
	k := key{name: strings.ToLower(name)}
	k.builtin = builtins[k.name]
	if tag, ok := strings.CutPrefix(k.name, prefixPrincipalTag); ok {
		k.builtin, k.tag = builtinPrincipalTag, tag
	}
	return k
}

// isKeyName reports whether a text has the form of a condition key: a vendor,
// a colon and a name.
func isKeyName(s string) bool {
	vendor, name, ok := strings.Cut(s, ":")
	// The vendor of a key may be an identity provider, with a path.
	vendor = strings.NewReplacer("/", "", "_", "").Replace(vendor)
	return ok && isVendor(vendor) && name != "" && !strings.ContainsAny(name, "${}")
}

// isVendor reports whether a text can name a service.
func isVendor(s string) bool {
	for i := range len(s) {
		c := s[i]
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '.') {
			return false
		}
	}
	return s != ""
}
