// Package ociname knows the names of the OCI distribution specification: of
// repositories, tags and digests. A name that passes here is safe in a URL's
// path and, its slashes aside, as the name of a file.
package ociname

import (
	"crypto/sha256"
	"encoding/hex"
	"regexp"
)

// MaxRepository is the longest name of a repository in bytes: it is also that
// of a file's name.
const MaxRepository = 255

// DigestPrefix begins all digests that are understood.
const DigestPrefix = "sha256:"

var (
	repository = regexp.MustCompile(`^[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*$`)
	tag        = regexp.MustCompile(`^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$`)
	digest     = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)
)

// IsRepository says whether s is the name of a repository, without a host.
func IsRepository(s string) bool { return len(s) <= MaxRepository && repository.MatchString(s) }

// IsTag says whether s is a tag.
func IsTag(s string) bool { return tag.MatchString(s) }

// IsDigest says whether s is a digest by SHA-256.
func IsDigest(s string) bool { return digest.MatchString(s) }

// Digest returns the digest of data.
func Digest(data []byte) string {
	sum := sha256.Sum256(data)
	return Sum(sum[:])
}

// Sum is the digest that has a hash as its sum.
func Sum(hash []byte) string { return DigestPrefix + hex.EncodeToString(hash) }
