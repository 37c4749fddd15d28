package function

import (
	"maps"
	"slices"
	"time"
)

// Attached is what belongs to a function beside its code and configuration. It
// lives and dies with the function's record, and is keyed by qualifier where
// AWS keys it so: a version's number, an alias's name, or LatestVersion.
type Attached struct {
	// LastVersion is the number of the version that was published last; it is
	// never used again, even after that version was deleted.
	LastVersion uint64            `json:"lastVersion,omitempty"`
	Aliases     map[string]*Alias `json:"aliases,omitempty"`
	// Policies are the resource policies by qualifier; that of the function
	// as a whole is under "".
	Policies map[string]*Policy `json:"policies,omitempty"`
	URLs     map[string]*URL    `json:"urls,omitempty"`
	// Reserved is the reserved concurrency; nil if none is set.
	Reserved     *int                    `json:"reserved,omitempty"`
	Provisioned  map[string]*Provisioned `json:"provisioned,omitempty"`
	EventInvoke  map[string]*EventInvoke `json:"eventInvoke,omitempty"`
	RuntimeRules map[string]*RuntimeRule `json:"runtimeRules,omitempty"`
	// RecursiveLoop is Allow, or empty for AWS's default, Terminate.
	RecursiveLoop string `json:"recursiveLoop,omitempty"`
	// CodeSigningConfig is an ARN, or empty.
	CodeSigningConfig string `json:"codeSigningConfig,omitempty"`
}

// Alias is a name for a version, or for two with weights.
type Alias struct {
	Name        string `json:"name"`
	Description string `json:"description,omitempty"`
	RevisionID  string `json:"revisionId"`
	Version     string `json:"version"`
	// Weights are the shares (0 to 1) of invokes that go to other versions.
	Weights map[string]float64 `json:"weights,omitempty"`
}

// Policy is a resource policy.
type Policy struct {
	RevisionID string `json:"revisionId"`
	// Document is the policy as JSON.
	Document string `json:"document"`
}

// URL is a function URL.
type URL struct {
	// ID is the host's first label, as in https://ID.lambda-url.REGION.on.aws.
	ID               string    `json:"id"`
	AuthType         string    `json:"authType"`
	InvokeMode       string    `json:"invokeMode"`
	CORS             *CORS     `json:"cors,omitempty"`
	CreationTime     time.Time `json:"creationTime"`
	LastModifiedTime time.Time `json:"lastModifiedTime"`
}

// Auth types and invoke modes of function URLs, in AWS's words. No invoke mode
// is BUFFERED.
const (
	AuthNone   = "NONE"
	AuthIAM    = "AWS_IAM"
	ModeStream = "RESPONSE_STREAM"
)

// CORS is the cross-origin setting of a function URL. A nil list was not set.
type CORS struct {
	AllowCredentials *bool    `json:"allowCredentials,omitempty"`
	AllowHeaders     []string `json:"allowHeaders,omitempty"`
	AllowMethods     []string `json:"allowMethods,omitempty"`
	AllowOrigins     []string `json:"allowOrigins,omitempty"`
	ExposeHeaders    []string `json:"exposeHeaders,omitempty"`
	MaxAge           *int     `json:"maxAge,omitempty"`
}

// IsZero says that nothing was set.
func (c *CORS) IsZero() bool {
	return c.AllowCredentials == nil && c.MaxAge == nil && len(c.AllowHeaders)+len(c.AllowMethods)+len(c.AllowOrigins)+len(c.ExposeHeaders) == 0
}

// Provisioned asks for environments that are initialised ahead.
type Provisioned struct {
	Requested    int       `json:"requested"`
	LastModified time.Time `json:"lastModified"`
}

// EventInvoke says what becomes of asynchronous invokes. Nil and empty mean
// AWS's defaults.
type EventInvoke struct {
	LastModified    time.Time `json:"lastModified"`
	MaximumAge      *int      `json:"maximumAge,omitempty"` // seconds
	MaximumRetries  *int      `json:"maximumRetries,omitempty"`
	OnSuccess       *string   `json:"onSuccess,omitempty"` // ARN
	OnFailure       *string   `json:"onFailure,omitempty"` // ARN
	HasDestinations bool      `json:"hasDestinations,omitempty"`
}

// RuntimeRule says when a function takes up a new version of its runtime.
type RuntimeRule struct {
	UpdateOn string `json:"updateOn"` // Auto, FunctionUpdate or Manual
	// ARN is the runtime version of a Manual rule.
	ARN string `json:"arn,omitempty"`
}

// SortedAliases returns the aliases in the order of their names.
func (a *Attached) SortedAliases() []*Alias {
	all := make([]*Alias, 0, len(a.Aliases))
	for _, name := range slices.Sorted(maps.Keys(a.Aliases)) {
		all = append(all, a.Aliases[name])
	}
	return all
}

// ProvisionedFor is how many environments a version has initialised ahead,
// under its own number or an alias.
func (a *Attached) ProvisionedFor(version string) int {
	n := 0
	for qualifier, p := range a.Provisioned {
		if a.VersionOf(qualifier) == version {
			n += p.Requested
		}
	}
	return n
}

// VersionOf is the version that a qualifier names: what an alias points to
// without its weights, and anything else itself.
func (a *Attached) VersionOf(qualifier string) string {
	if alias := a.Aliases[qualifier]; alias != nil {
		return alias.Version
	}
	return qualifier
}

// ProvisionedTotal is how many environments are initialised ahead in all.
func (a *Attached) ProvisionedTotal() int {
	n := 0
	for _, p := range a.Provisioned {
		n += p.Requested
	}
	return n
}

// SetAside is how much of its account's concurrency a function takes away from
// the other functions.
func (a *Attached) SetAside() int {
	if a.Reserved != nil {
		return *a.Reserved
	}
	return a.ProvisionedTotal()
}

func (a *Attached) clone() Attached {
	c := *a
	c.Aliases = cloneEach(a.Aliases, func(x Alias) Alias { x.Weights = maps.Clone(x.Weights); return x })
	c.Policies = cloneEach(a.Policies, same)
	c.URLs = cloneEach(a.URLs, func(u URL) URL {
		if u.CORS != nil {
			cors := *u.CORS
			cors.AllowHeaders, cors.AllowMethods = slices.Clone(cors.AllowHeaders), slices.Clone(cors.AllowMethods)
			cors.AllowOrigins, cors.ExposeHeaders = slices.Clone(cors.AllowOrigins), slices.Clone(cors.ExposeHeaders)
			u.CORS = &cors
		}
		return u
	})
	c.Provisioned = cloneEach(a.Provisioned, same)
	c.EventInvoke = cloneEach(a.EventInvoke, same)
	c.RuntimeRules = cloneEach(a.RuntimeRules, same)
	return c
}

func same[T any](v T) T { return v }

func cloneEach[T any](m map[string]*T, clone func(T) T) map[string]*T {
	if m == nil {
		return nil
	}
	c := make(map[string]*T, len(m))
	for k, v := range m {
		d := clone(*v)
		c[k] = &d
	}
	return c
}
