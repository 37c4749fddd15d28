package function

// CreateRequest asks the control plane to create a function. Shapes, bounds
// and defaults have been checked and filled in; the archive has not been.
type CreateRequest struct {
	Account string
	Name    string
	// Config is complete but for Code, and the Code of its layers, which the
	// control plane sets.
	Config Config
	// Zip is the code archive as uploaded, or nil if it is to be fetched from
	// S3.
	Zip []byte
	S3  *S3Object
	// Image is the URI of a container image; then there is neither archive.
	Image string
	Tags  map[string]string
	// CodeSigningConfig is an ARN, or empty.
	CodeSigningConfig string
	// Publish makes version 1 of the function at once.
	Publish bool
	// DryRun checks everything and changes nothing; the record that comes
	// back shows what would have been.
	DryRun bool
}

// CodeUpdate asks the control plane to replace a function's code.
type CodeUpdate struct {
	Account string
	Name    string
	// RevisionID, if not empty, must be the function's present one.
	RevisionID string
	Zip        []byte
	S3         *S3Object
	Image      string // as in CreateRequest
	// Publish makes a version of the function with its new code.
	Publish bool
	// Architecture is empty to keep the function's.
	Architecture string
	// DryRun checks everything and changes nothing.
	DryRun bool
}

// ConfigUpdate asks the control plane to change a function's configuration.
type ConfigUpdate struct {
	Account string
	Name    string
	// RevisionID, if not empty, must be the function's present one.
	RevisionID string
	// Apply changes a private copy of the latest configuration. It may be
	// called more than once, when another change got in between, so it must
	// do nothing else. An error from it is returned to the caller unchanged.
	// Layers that it sets have no Code: the control plane finds them.
	Apply func(*Config) error
}

// S3Object names an archive in a bucket.
type S3Object struct{ Bucket, Key, Version string }

// Ref names a function, or with a version number one of its versions.
type Ref struct{ Name, Version string }

// Usage is what an account takes of its quotas.
type Usage struct {
	Functions int
	CodeBytes int64
	// SetAside is the concurrency that functions have reserved or provisioned.
	SetAside int
}

// PublishRequest asks the control plane to publish a version.
type PublishRequest struct {
	Account string
	Name    string
	// CodeSHA256 and RevisionID, if not empty, must be the function's present
	// ones.
	CodeSHA256 string
	RevisionID string
	// Description is the version's; the function's if nil.
	Description *string
}

// AliasUpdate asks the control plane to change an alias. What is nil or empty
// stays as it is.
type AliasUpdate struct {
	Name        string
	RevisionID  string
	Version     string
	Description *string
	Weights     *map[string]float64
}

// URLUpdate asks the control plane to change a function URL. What is nil or
// empty stays as it is.
type URLUpdate struct {
	AuthType   string
	InvokeMode string
	// CORS replaces the setting as a whole; one without any member removes it.
	CORS *CORS
}
