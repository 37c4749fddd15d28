// Package function holds the record of a Lambda function as the control plane
// stores it and as every other service reads it. It is a leaf: plain data, no
// I/O. AWS's names are kept for fields that AWS shows.
//
// A record carries two configurations. Latest is what the API shows and what
// the last accepted change asked for. Serving is what invokes run. They differ
// only while an update is being prepared, or after one failed to be; a change
// of Serving is one atomic replacement, so an invoke sees the old code and
// configuration or the new ones, never a mixture.
package function

import (
	"maps"
	"slices"
	"strings"
	"time"
)

// LatestVersion is the version name of the unpublished function.
const LatestVersion = "$LATEST"

// State is where a function is in its life, in AWS's words.
type State string

// The states AWS reports.
const (
	Pending State = "Pending"
	Active  State = "Active"
	Failed  State = "Failed"
)

// UpdateStatus is how the last change of a function went, in AWS's words.
type UpdateStatus string

// The statuses AWS reports.
const (
	UpdateSuccessful UpdateStatus = "Successful"
	UpdateInProgress UpdateStatus = "InProgress"
	UpdateFailed     UpdateStatus = "Failed"
)

// Code names a stored code archive.
type Code struct {
	// Object is the archive's key in the object store. Each upload has a key
	// of its own, so deleting one can never take another's bytes.
	Object string `json:"object"`
	// SHA256 is the archive's digest in standard base64, as AWS shows it; an
	// image's in hexadecimal.
	SHA256 string `json:"sha256"`
	// Size is the archive's size in bytes.
	Size int64 `json:"size"`
	// Unpacked is the size of all files in it together.
	Unpacked int64 `json:"unpacked,omitempty"`
}

// Config is everything that decides how an invoke runs.
type Config struct {
	Description      string `json:"description,omitempty"`
	Runtime          string `json:"runtime"`
	Role             string `json:"role"`
	Handler          string `json:"handler"`
	Timeout          int    `json:"timeout"`          // seconds, 1 to 900
	MemorySize       int    `json:"memorySize"`       // MB, 128 to 10240
	EphemeralStorage int    `json:"ephemeralStorage"` // MB of /tmp, 512 to 10240
	// Environment is the function's variables in the clear: those of a request
	// that is on its way to be sealed. It is never stored.
	Environment map[string]string `json:"-"`
	// Sealed is the variables as they are stored; zero if they were never set,
	// which AWS shows otherwise than empty.
	Sealed              SealedEnvironment `json:"environment,omitzero"`
	Architecture        string            `json:"architecture"`
	PackageType         string            `json:"packageType"`
	TracingMode         string            `json:"tracingMode"`
	LogFormat           string            `json:"logFormat"`
	LogGroup            string            `json:"logGroup"`
	ApplicationLogLevel string            `json:"applicationLogLevel,omitempty"`
	SystemLogLevel      string            `json:"systemLogLevel,omitempty"`
	Code                Code              `json:"code"`
	// Image is set for a container image, which has no Runtime, Handler or
	// Layers. Code.Object then names its volume.
	Image *Image `json:"image,omitempty"`

	// Layers are unpacked over each other in /opt, the last on top.
	Layers []Layer `json:"layers,omitempty"`
	// DeadLetterTarget is where asynchronous invokes go that failed: the ARN
	// of a queue or topic, or empty.
	DeadLetterTarget string `json:"deadLetterTarget,omitempty"`
	// KMSKey is the ARN of the key that seals the environment; empty for the
	// account's own.
	KMSKey string `json:"kmsKey,omitempty"`
	// SnapStart is PublishedVersions, or empty for None.
	SnapStart string `json:"snapStart,omitempty"`
	// VPC and FileSystems are kept and shown; this version of Hearth connects
	// functions to neither.
	VPC         *VPC         `json:"vpc,omitempty"`
	FileSystems []FileSystem `json:"fileSystems,omitempty"`
}

// Image is the container image of a function.
type Image struct {
	// URI is the image as its owner named it, Resolved the same by its digest.
	URI      string `json:"uri"`
	Resolved string `json:"resolvedUri"`
	// EntryPoint, Command and WorkingDirectory replace what the image says
	// itself, where they are set: AWS's ImageConfig.
	EntryPoint       []string `json:"entryPoint,omitempty"`
	Command          []string `json:"command,omitempty"`
	WorkingDirectory string   `json:"workingDirectory,omitempty"`
}

// ImageConfig is what a container image says itself about how to start it.
type ImageConfig struct {
	EntryPoint       []string `json:"entryPoint,omitempty"`
	Command          []string `json:"command,omitempty"`
	WorkingDirectory string   `json:"workingDirectory,omitempty"`
	// Env are variables as NAME=VALUE.
	Env []string `json:"env,omitempty"`
}

// Program is what to start in a container image, with its arguments, and
// where: what the function says wins over what the image says.
func (i *Image) Program(own *ImageConfig) (command []string, dir string) {
	pick := func(ours, image []string) []string {
		if len(ours) > 0 {
			return ours
		}
		return image
	}
	if dir = i.WorkingDirectory; dir == "" {
		dir = own.WorkingDirectory
	}
	return slices.Concat(pick(i.EntryPoint, own.EntryPoint), pick(i.Command, own.Command)), dir
}

// Layer is a version of a layer as a function uses it.
type Layer struct {
	ARN  string `json:"arn"` // with the version
	Code Code   `json:"code"`
}

// Account owns the layer: another one, maybe, than the function's.
func (l *Layer) Account() string {
	if parts := strings.Split(l.ARN, ":"); len(parts) > 4 {
		return parts[4]
	}
	return ""
}

// VPC is AWS's VpcConfig.
type VPC struct {
	SubnetIDs        []string `json:"subnetIds,omitempty"`
	SecurityGroupIDs []string `json:"securityGroupIds,omitempty"`
	IPv6             bool     `json:"ipv6,omitempty"`
}

// FileSystem is AWS's FileSystemConfig.
type FileSystem struct {
	ARN   string `json:"arn"`
	Mount string `json:"mount"`
}

// Clone returns a copy that shares nothing with c.
func (c *Config) Clone() *Config {
	d := *c
	d.Environment, d.Sealed = maps.Clone(c.Environment), c.Sealed.clone()
	d.Layers, d.FileSystems = slices.Clone(c.Layers), slices.Clone(c.FileSystems)
	if c.Image != nil {
		i := *c.Image
		i.EntryPoint, i.Command = slices.Clone(i.EntryPoint), slices.Clone(i.Command)
		d.Image = &i
	}
	if c.VPC != nil {
		v := *c.VPC
		v.SubnetIDs, v.SecurityGroupIDs = slices.Clone(v.SubnetIDs), slices.Clone(v.SecurityGroupIDs)
		d.VPC = &v
	}
	return &d
}

// Record is a function. Records that have been handed out are never changed:
// a change makes a new record.
type Record struct {
	Account string `json:"account"`
	Region  string `json:"region"`
	Name    string `json:"name"`
	// Version is the number of a published version, and empty for the
	// function itself, which is $LATEST. A version is a record of its own: its
	// Latest is what was published and never changes.
	Version string `json:"version,omitempty"`
	// UID tells this function or version from all others, also from earlier
	// ones of the same name.
	UID string `json:"uid"`

	RevisionID   string    `json:"revisionId"`
	LastModified time.Time `json:"lastModified"`

	State           State  `json:"state"`
	StateReason     string `json:"stateReason,omitempty"`
	StateReasonCode string `json:"stateReasonCode,omitempty"`

	LastUpdateStatus           UpdateStatus `json:"lastUpdateStatus,omitempty"`
	LastUpdateStatusReason     string       `json:"lastUpdateStatusReason,omitempty"`
	LastUpdateStatusReasonCode string       `json:"lastUpdateStatusReasonCode,omitempty"`

	Tags map[string]string `json:"tags,omitempty"`

	Latest *Config `json:"latest"`
	// Serving is nil until the function has been Active for the first time.
	Serving *Config `json:"serving,omitempty"`
	// Attached is empty in the record of a version.
	Attached

	// Generation counts the replacements of Serving. Environments belong to
	// one generation and are retired when it is replaced.
	Generation uint64 `json:"generation"`
}

// Clone returns a copy that shares nothing with r.
func (r *Record) Clone() *Record {
	s := *r
	s.Tags = maps.Clone(r.Tags)
	s.Attached = r.Attached.clone()
	s.Latest = r.Latest.Clone()
	if r.Serving != nil {
		s.Serving = r.Serving.Clone()
	}
	return &s
}

// ARN is the unqualified function ARN.
func (r *Record) ARN() string {
	return "arn:aws:lambda:" + r.Region + ":" + r.Account + ":function:" + r.Name
}

// Key names one generation of one function: the unit that environments are
// kept for. It is comparable and cheap to hash.
type Key struct {
	UID        string `json:"uid"`
	Version    string `json:"version"`
	Generation uint64 `json:"generation"`
}

// Key is the key of what the record serves now.
func (r *Record) Key() Key {
	return Key{UID: r.UID, Version: r.VersionName(), Generation: r.Generation}
}

// VersionName is the version as AWS shows it.
func (r *Record) VersionName() string {
	if r.Version == "" {
		return LatestVersion
	}
	return r.Version
}

// SortedTagKeys returns the keys of the record's tags in order.
func (r *Record) SortedTagKeys() []string {
	return slices.Sorted(maps.Keys(r.Tags))
}
