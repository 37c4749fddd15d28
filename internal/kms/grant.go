package kms

import "context"

// There are no grants, and what lists them says so: tools that manage a key
// look at its grants too.
type grantsOutput struct {
	Grants    []struct{} `json:"Grants"`
	Truncated bool       `json:"Truncated"`
}

func noGrants(context.Context) (any, error) { return grantsOutput{Grants: []struct{}{}}, nil }

func listGrants(_ context.Context, c *call, in *keyInput) (*request, error) {
	k, err := c.findKey(in.KeyID)
	if err != nil {
		return nil, err
	}
	return &request{access: []Access{c.on(k, nil)}, run: noGrants}, nil
}

func listRetirableGrants(_ context.Context, c *call, _ *struct{}) (*request, error) {
	return &request{access: []Access{c.onAccount()}, run: noGrants}, nil
}
