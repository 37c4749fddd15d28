// Package awsid makes random identifiers and keys in the forms that AWS gives
// them, as its tools check them. It is a leaf: no I/O.
package awsid

import "crypto/rand"

// Prefixes of access keys: tools tell long-lived from session keys by them.
const (
	LongLived = "AKIA"
	Session   = "ASIA"
)

const (
	letters       = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
	secrets       = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
	keyLength     = 20
	secretLength  = 40
	accountLength = 12
	// UniqueLength is how long a unique id is.
	UniqueLength = 21
)

// AccessKey returns the id and the secret of a new access key.
func AccessKey(prefix string) (id, secret string) {
	return prefix + text(keyLength-len(prefix), letters), text(secretLength, secrets)
}

// Unique returns a unique id, as users (AIDA), roles (AROA) and managed
// policies (ANPA) have.
func Unique(prefix string) string { return prefix + text(UniqueLength-len(prefix), letters) }

// Account returns an account's number. It is no secret, and the digits need not
// be equally likely.
func Account() string { return text(accountLength, "0123456789012345") }

// text returns n letters of an alphabet whose size divides 256, so that every
// letter is equally likely.
func text(n int, alphabet string) string {
	b := make([]byte, n)
	rand.Read(b) // never fails: it ends the program instead
	for i, c := range b {
		b[i] = alphabet[int(c)%len(alphabet)]
	}
	return string(b)
}
