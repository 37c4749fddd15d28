// Package layer holds the records of Lambda layers as the control plane stores
// them. It is a leaf: plain data, no I/O.
//
// A layer is no more than a name and a count; what can be used is its
// versions, which never change but for their policies. A version's number is
// never used again, also not after the version was deleted.
package layer

import (
	"slices"
	"time"

	"hearth/internal/arn"
	"hearth/internal/function"
)

// Layer is the name that versions are published under. Its record stays when
// all of its versions are gone.
type Layer struct {
	Account string `json:"account"`
	Name    string `json:"name"`
	// LastVersion is the number of the version that was published last.
	LastVersion int64 `json:"lastVersion"`
}

// Version is one version of a layer. Records that have been handed out are
// never changed: a change makes a new record.
type Version struct {
	Account string `json:"account"`
	Region  string `json:"region"`
	Name    string `json:"name"`
	Number  int64  `json:"number"`

	Created       time.Time     `json:"created"`
	Description   string        `json:"description,omitempty"`
	LicenseInfo   string        `json:"licenseInfo,omitempty"`
	Runtimes      []string      `json:"runtimes,omitempty"`
	Architectures []string      `json:"architectures,omitempty"`
	Code          function.Code `json:"code"`

	// Policy says who beside the account may use the version; nil if nobody
	// was ever allowed to.
	Policy *function.Policy `json:"policy,omitempty"`
}

// LayerARN is the ARN of the layer.
func (v *Version) LayerARN() string {
	return arn.Layer{Region: v.Region, Account: v.Account, Name: v.Name}.String()
}

// ARN is the ARN of the version.
func (v *Version) ARN() string {
	return arn.Layer{Region: v.Region, Account: v.Account, Name: v.Name, Version: v.Number}.String()
}

// Filter picks versions by what they say that they are made for. An empty
// field picks all.
type Filter struct{ Runtime, Architecture string }

// Matches says whether the filter picks a version.
func (f Filter) Matches(v *Version) bool {
	return (f.Runtime == "" || slices.Contains(v.Runtimes, f.Runtime)) &&
		(f.Architecture == "" || slices.Contains(v.Architectures, f.Architecture))
}

// PublishRequest asks the control plane for a new version. Shapes and bounds
// have been checked; the archive has not been.
type PublishRequest struct {
	Account, Name            string
	Description, LicenseInfo string
	Runtimes, Architectures  []string
	// Zip is the archive as uploaded, or nil if it is to be fetched from S3.
	Zip []byte
	S3  *function.S3Object
}
