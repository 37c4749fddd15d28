// Package codesigning holds the record of a code signing configuration: who
// may sign the code of functions, and what becomes of code that nobody of
// them signed. It is a leaf: plain data, no I/O.
//
// Hearth cannot verify the signatures of AWS Signer. So all code counts as
// untrusted: a policy of Enforce refuses it, one of Warn lets it pass.
package codesigning

import (
	"maps"
	"slices"
	"strings"
	"time"
)

// Policies for code without a trusted signature, in AWS's words.
const (
	Warn    = "Warn"
	Enforce = "Enforce"
)

// Config is a code signing configuration. Records that have been handed out
// are never changed: a change makes a new one.
type Config struct {
	Account string `json:"account"`
	Region  string `json:"region"`
	// ID is csc- and 17 letters or digits.
	ID          string `json:"id"`
	Description string `json:"description,omitempty"`
	// Publishers are the ARNs of signing profile versions.
	Publishers []string `json:"publishers"`
	// Untrusted is Warn or Enforce.
	Untrusted    string            `json:"untrusted"`
	LastModified time.Time         `json:"lastModified"`
	Tags         map[string]string `json:"tags,omitempty"`
}

// ARN is the name of the configuration.
func (c *Config) ARN() string { return ARN(c.Region, c.Account, c.ID) }

// ARN makes the name of a configuration.
func ARN(region, account, id string) string {
	return "arn:aws:lambda:" + region + ":" + account + ":code-signing-config:" + id
}

// ParseARN reads the account and id in the name of a configuration of a region.
func ParseARN(region, arn string) (account, id string, ok bool) {
	parts := strings.Split(arn, ":")
	const fields = 7
	if len(parts) != fields || parts[2] != "lambda" || parts[3] != region || parts[5] != "code-signing-config" {
		return "", "", false
	}
	return parts[4], parts[6], parts[4] != "" && parts[6] != ""
}

// Clone returns a copy that shares nothing with c.
func (c *Config) Clone() *Config {
	d := *c
	d.Publishers, d.Tags = slices.Clone(c.Publishers), maps.Clone(c.Tags)
	return &d
}
