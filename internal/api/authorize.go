package api

import (
	"context"
	"net/netip"
	"reflect"
	"strconv"
	"strings"
	"sync"

	"hearth/internal/arn"
	"hearth/internal/function"
	"hearth/internal/policy"
	"hearth/internal/sigv4"
)

// Access decides what callers may do. Its refusals are *awserr.Error in AWS's
// words.
type Access interface {
	// Authorize says whether the caller may do what the request asks, by the
	// caller's own policies and the resource's, which may be nil. It fills in
	// the request's principal.
	Authorize(ctx context.Context, caller *sigv4.Identity, r *policy.Request, resource *policy.Document) error
	// AuthorizeAnonymous is Authorize for a request that nobody signed. The
	// request's principal is set.
	AuthorizeAnonymous(r *policy.Request, resource *policy.Document) error
	// PassRole says whether the caller may give Lambda the role that is the
	// request's resource, and whether Lambda can assume it for the function of
	// an ARN. It fills in the rest of the request.
	PassRole(ctx context.Context, caller *sigv4.Identity, r *policy.Request, function string) error
}

// subject is what an operation is about.
type subject struct {
	resource string // its ARN, or "*"
	account  string
	// fn is set if it is a function.
	fn arn.Function
}

// authorize asks whether the caller may run an operation on this input.
func (s *Server) authorize(ctx context.Context, c *call, in any) error {
	about, err := s.subjectOf(c, in)
	if err != nil {
		return err
	}
	r := s.accessRequest(c, "lambda:"+action(c.op), about)
	s.addKeys(ctx, r, about, in)
	resource := s.policyOf(ctx, about.fn)
	if strings.Contains(about.resource, ":layer:") {
		resource = s.layerPolicy(ctx, about.resource)
	}
	if err := s.cfg.Access.Authorize(ctx, &c.Identity, r, resource); err != nil {
		return err
	}
	if err := s.authorizeMove(ctx, c, r, about, in); err != nil {
		return err
	}
	if layers, ok := member[[]string](in, "Layers"); ok {
		if err := s.authorizeLayers(ctx, c, layers); err != nil {
			return err
		}
	}
	if role := text1(in, "Role"); role != "" && (c.op.name == "CreateFunction" || c.op.name == "UpdateFunctionConfiguration") {
		return s.cfg.Access.PassRole(ctx, &c.Identity, s.accessRequest(c, "iam:PassRole", subject{resource: role, account: c.AccountID}), about.resource)
	}
	return nil
}

// authorizeMove asks whether the caller may have an event source mapping feed
// the function that the request names, after the one that it feeds now.
func (s *Server) authorizeMove(ctx context.Context, c *call, r *policy.Request, about subject, in any) error {
	if c.op.name != "UpdateEventSourceMapping" {
		return nil
	}
	name := text1(in, "FunctionName")
	if name == "" {
		return nil
	}
	ref, err := s.resolve(c, name, "")
	if err != nil {
		return err
	}
	s.addFunctionKey(r, about, ref)
	return s.cfg.Access.Authorize(ctx, &c.Identity, r, nil)
}

// accessRequest is a request for a decision on a call.
func (s *Server) accessRequest(c *call, action string, about subject) *policy.Request {
	r := &policy.Request{Action: action, Resource: about.resource, ResourceAccount: about.account}
	s.describe(c, r)
	return r
}

// describer has another service's requests described as this call's.
func (s *Server) describer(c *call) func(*policy.Request) {
	return func(r *policy.Request) { s.describe(c, r) }
}

// describe adds the condition keys that every request has.
func (s *Server) describe(c *call, r *policy.Request) {
	r.Keys.Time = s.cfg.Now()
	r.Keys.SourceIP = remoteIP(c.r.RemoteAddr)
	r.Keys.SetBool("aws:SecureTransport", c.r.TLS != nil)
	r.Keys.Set("aws:RequestedRegion", s.cfg.Region)
	if agent := c.r.UserAgent(); agent != "" {
		r.Keys.Set("aws:UserAgent", agent)
	}
}

func remoteIP(addr string) netip.Addr {
	at, err := netip.ParseAddrPort(addr)
	if err != nil {
		return netip.Addr{}
	}
	return at.Addr().Unmap()
}

// subjectOf finds what an operation is about by the member that names it in
// its path; operations without one are about the account.
func (s *Server) subjectOf(c *call, in any) (subject, error) {
	about := subject{resource: "*", account: c.AccountID}
	prefix := "arn:aws:lambda:" + s.cfg.Region + ":" + c.AccountID + ":"
	switch name := c.op.about; name {
	case "FunctionName":
		ref, err := s.resolve(c, text1(in, name), text1(in, "Qualifier"))
		if err != nil {
			return about, err
		}
		about.fn, about.account, about.resource = ref, ref.Account, ref.String()
	case "LayerName":
		about.resource = text1(in, name)
		if !strings.HasPrefix(about.resource, "arn:") {
			about.resource = prefix + "layer:" + about.resource
		}
		if v := text1(in, "VersionNumber"); v != "" {
			about.resource += ":" + v
		}
	case "UUID":
		about.resource = prefix + "event-source-mapping:" + text1(in, name)
	case "":
	default: // an ARN
		about.resource = text1(in, name)
		if ref, err := arn.Parse(about.resource); err == nil && ref.Partition != "" {
			about.fn = ref
		}
	}
	if parts := strings.SplitN(about.resource, ":", 6); len(parts) == 6 && parts[4] != "" {
		about.account = parts[4]
	}
	return about, nil
}

// namesBy is the member of an operation's input that names what it is about.
func (op *operation) namesBy() string {
	for _, name := range []string{"FunctionName", "LayerName", "UUID", "CodeSigningConfigArn", "Resource", "ResourceArn"} {
		for _, b := range op.bindings {
			if b.place == inLabel && b.member.MemberName() == name {
				return name
			}
		}
	}
	switch op.name {
	case "CreateFunction":
		return "FunctionName"
	case "GetLayerVersionByArn":
		return "Arn"
	}
	return ""
}

// text1 reads a member of an input that is one text or number.
func text1(in any, name string) string {
	v := reflect.ValueOf(in).Elem().FieldByName(name)
	if v.IsValid() && v.Kind() == reflect.Pointer {
		v = v.Elem()
	}
	switch {
	case !v.IsValid():
		return ""
	case v.Kind() == reflect.String:
		return v.String()
	case v.CanInt():
		return strconv.FormatInt(v.Int(), 10)
	}
	return ""
}

// member reads a member of an input that is of the given type.
func member[T any](in any, name string) (T, bool) {
	if v := reflect.ValueOf(in).Elem().FieldByName(name); v.IsValid() {
		return reflect.TypeAssert[T](v)
	}
	var none T
	return none, false
}

// addKeys adds the condition keys that AWS's service authorization reference
// lists for Lambda, as far as the input has them.
func (s *Server) addKeys(ctx context.Context, r *policy.Request, about subject, in any) {
	if tags, ok := member[map[string]string](in, "Tags"); ok && len(tags) > 0 {
		r.Keys.SetTags(policy.TagsOfRequest, tags)
		r.Keys.SetList("aws:TagKeys", sortedAfter(tags, ""))
	}
	if keys, ok := member[[]string](in, "TagKeys"); ok {
		r.Keys.SetList("aws:TagKeys", keys)
	}
	if layers, ok := member[[]string](in, "Layers"); ok && len(layers) > 0 {
		r.Keys.SetList("lambda:Layer", layers)
	}
	for key, name := range map[string]string{
		"lambda:CodeSigningConfigArn": "CodeSigningConfigArn", "lambda:Principal": "Principal",
	} {
		if v := text1(in, name); v != "" {
			r.Keys.Set(key, v)
		}
	}
	for _, name := range []string{"AuthType", "FunctionUrlAuthType"} {
		if v := text1(in, name); v != "" {
			r.Keys.Set("lambda:FunctionUrlAuthType", v)
		}
	}
	if about.fn.Name == "" && s.addStoredKeys(ctx, r, about) {
		return
	}
	if about.fn.Name == "" {
		if name := text1(in, "FunctionName"); name != "" { // of an event source mapping
			if ref, err := arn.Parse(name); err == nil {
				s.addFunctionKey(r, about, ref)
			}
		}
		return
	}
	unqualified := about.fn
	unqualified.Qualifier = ""
	r.Keys.Set("lambda:FunctionArn", unqualified.String())
	if record, err := s.cfg.Functions.Get(ctx, about.account, about.fn.Name); err == nil {
		r.Keys.SetTags(policy.TagsOfResource, record.Tags)
	}
}

// addFunctionKey adds the function that a mapping feeds: without a qualifier,
// so that a condition on a function holds for its versions and aliases too.
func (s *Server) addFunctionKey(r *policy.Request, about subject, ref arn.Function) {
	ref.Region, ref.Account, ref.Qualifier = s.cfg.Region, about.account, ""
	r.Keys.Set("lambda:FunctionArn", ref.String())
}

// addStoredKeys adds what is stored of the mapping or code signing
// configuration that a request is about. It says whether there is one.
func (s *Server) addStoredKeys(ctx context.Context, r *policy.Request, about subject) bool {
	switch account, kind, id := s.resourceParts(about.resource); kind {
	case mappingResource:
		if m, err := s.cfg.Functions.Mapping(ctx, account, id); err == nil {
			r.Keys.SetTags(policy.TagsOfResource, m.Tags)
			if ref, err := arn.Parse(m.Function); err == nil {
				s.addFunctionKey(r, about, ref)
			}
			return true
		}
	case codeSigningResource:
		if config, err := s.cfg.Functions.CodeSigningConfig(ctx, account, id); err == nil {
			r.Keys.SetTags(policy.TagsOfResource, config.Tags)
			return true
		}
	}
	return false
}

// policyOf is the resource policy that speaks of a function, alias or version.
func (s *Server) policyOf(ctx context.Context, ref arn.Function) *policy.Document {
	if ref.Name == "" {
		return nil
	}
	record, err := s.cfg.Functions.Get(ctx, ref.Account, ref.Name)
	if err != nil {
		return nil // whoever may ask is told that it is not there
	}
	p := record.Policies[ref.Qualifier]
	if p == nil {
		return nil
	}
	return s.policies.get(ref.String(), p)
}

// maxPolicies bounds the parsed resource policies that are kept.
const maxPolicies = 4096

// policyCache keeps resource policies parsed, by their revision.
type policyCache struct {
	mu     sync.RWMutex
	parsed map[string]*policy.Document
}

// get returns a resource's policy. One that cannot be read allows nothing and
// denies nothing; it was checked when it was stored.
func (pc *policyCache) get(name string, p *function.Policy) *policy.Document {
	pc.mu.RLock()
	d, ok := pc.parsed[p.RevisionID]
	pc.mu.RUnlock()
	if ok {
		return d
	}
	d, err := policy.Parse(policy.KindResource, name, []byte(p.Document))
	if err != nil {
		d = nil
	}
	pc.mu.Lock()
	defer pc.mu.Unlock()
	if len(pc.parsed) >= maxPolicies || pc.parsed == nil {
		pc.parsed = make(map[string]*policy.Document)
	}
	pc.parsed[p.RevisionID] = d
	return d
}
