package kms

import (
	"context"
	"sync"

	"hearth/internal/awserr"
	"hearth/internal/policy"
	"hearth/internal/sigv4"
)

// authorize says whether a caller may have an access.
func (s *Service) authorize(ctx context.Context, caller sigv4.Identity, d Describe, a Access) error {
	if s.cfg.Authorize == nil {
		if caller.AccountID != a.Account {
			return denied(caller, a.Action, a.Resource)
		}
		return nil
	}
	r := &policy.Request{
		Action: a.Action, Resource: a.Resource, ResourceAccount: a.Account,
		// Nobody reaches a key but by its own policy, not even its account.
		MustGrant: a.Policy != "",
	}
	r.Keys.Time = s.now()
	if d != nil {
		d(r)
	}
	for name, value := range a.Conditions {
		r.Keys.Set(name, value)
	}
	var document *policy.Document
	if a.Policy != "" {
		document = s.policies.get(a.Resource, a.Policy)
	}
	return s.cfg.Authorize(ctx, &caller, r, document)
}

// maxPolicies bounds the parsed key policies that are kept.
const maxPolicies = 4096

// policyCache keeps key policies parsed, by the key's ARN and their text.
type policyCache struct {
	mu     sync.RWMutex
	parsed map[[2]string]*policy.Document
}

// get parses a key's policy. One that cannot be read, which a later version
// may have stored, grants nothing.
func (pc *policyCache) get(arn, text string) *policy.Document {
	name := [2]string{arn, text}
	pc.mu.RLock()
	d, ok := pc.parsed[name]
	pc.mu.RUnlock()
	if ok {
		return d
	}
	d, err := policy.Parse(policy.KindResource, arn, []byte(text))
	if err != nil {
		d = nil
	}
	pc.mu.Lock()
	defer pc.mu.Unlock()
	if len(pc.parsed) >= maxPolicies || pc.parsed == nil {
		pc.parsed = make(map[[2]string]*policy.Document)
	}
	pc.parsed[name] = d
	return d
}

// mayPutPolicy refuses a policy that would not let its caller replace it
// again: the key would be lost to everybody.
func (c *call) mayPutPolicy(ctx context.Context, d Describe, k *key, document string) error {
	next := k.clone()
	next.Policy = document
	if err := c.s.authorize(ctx, c.Identity, d, c.onAs("kms:PutKeyPolicy", next, nil)); err != nil {
		if _, ok := awserr.As(err); ok {
			return awserr.New("MalformedPolicyDocumentException", "The new key policy will not allow you to update the key policy in the future.")
		}
		return err
	}
	return nil
}
