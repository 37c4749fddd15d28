package registry

import (
	"regexp"
	"strings"

	"hearth/internal/ociname"
)

var (
	accountPattern = regexp.MustCompile(`^[0-9]{12}$`)
	uploadPattern  = regexp.MustCompile(`^[A-Z2-7]{26}$`)
)

func checkName(name string) error {
	if !ociname.IsRepository(name) {
		return badName(name)
	}
	return nil
}

func checkDigest(digest string) error {
	if !ociname.IsDigest(digest) {
		return badDigest(digest)
	}
	return nil
}

// Repositories are directories side by side: one whose name begins with
// another's must not be inside it. No name has a plus.
func encodeName(name string) string { return strings.ReplaceAll(name, "/", "+") }
func decodeName(dir string) string  { return strings.ReplaceAll(dir, "+", "/") }
