package registry

import (
	"fmt"
	"io/fs"
	"net/http"

	"hearth/internal/ociname"
	"hearth/internal/rootdir"
)

// Error is an error that a client is told, in the form of the distribution
// specification.
type Error struct {
	Status  int
	Code    string // of the specification, as MANIFEST_UNKNOWN
	Message string
	// offset is how much of an upload is there, for an error about that.
	offset int64
}

func (e *Error) Error() string { return e.Message }

// Is makes an error about what is not there an fs.ErrNotExist.
func (e *Error) Is(target error) bool {
	return target == fs.ErrNotExist && e.Status == http.StatusNotFound
}

func refuse(status int, code, format string, args ...any) *Error {
	return &Error{Status: status, Code: code, Message: fmt.Sprintf(format, args...)}
}

func badName(name string) *Error {
	return refuse(http.StatusBadRequest, "NAME_INVALID",
		"repository name %.100q: want components of lower-case letters and digits, joined by one of . _ - and by /, at most %d bytes",
		name, ociname.MaxRepository)
}

func badDigest(digest string) *Error {
	return refuse(http.StatusBadRequest, "DIGEST_INVALID", "digest %.100q: want sha256: and 64 lower-case hexadecimal digits", digest)
}

func unknownUpload() *Error {
	return refuse(http.StatusNotFound, "BLOB_UPLOAD_UNKNOWN", "this upload is not known: it has ended, or is more than a day old; begin it again")
}

// explain turns errors of the disk into what a client can act on.
func explain(err error) error {
	if rootdir.IsFull(err) {
		return refuse(http.StatusInsufficientStorage, "TOOLARGE", "the registry's disk is full; nothing of this was kept; free space there, then push again")
	}
	return err
}
