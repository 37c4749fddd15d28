package registry

import (
	"crypto/sha256"
	"encoding/hex"
	"regexp"
	"strings"
)

// Names, as the distribution specification has them.
var (
	namePattern    = regexp.MustCompile(`^[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*$`)
	tagPattern     = regexp.MustCompile(`^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$`)
	digestPattern  = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)
	accountPattern = regexp.MustCompile(`^[0-9]{12}$`)
	uploadPattern  = regexp.MustCompile(`^[A-Z2-7]{26}$`)
)

// maxName is the longest name of a repository. It is a file's name here.
const maxName = 255

const digestPrefix = "sha256:"

func checkName(name string) error {
	if len(name) > maxName || !namePattern.MatchString(name) {
		return badName(name)
	}
	return nil
}

func checkDigest(digest string) error {
	if !digestPattern.MatchString(digest) {
		return badDigest(digest)
	}
	return nil
}

func digestOf(data []byte) string {
	sum := sha256.Sum256(data)
	return digestPrefix + hex.EncodeToString(sum[:])
}

// Repositories are directories side by side: one whose name begins with
// another's must not be inside it. No name has a plus.
func encodeName(name string) string { return strings.ReplaceAll(name, "/", "+") }
func decodeName(dir string) string  { return strings.ReplaceAll(dir, "+", "/") }
