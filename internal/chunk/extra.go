package chunk

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
)

// Root names a generation of stored chunks. The garbage collector deletes roots,
// not chunks.
type Root uint64

// String is the root as it is in paths.
func (r Root) String() string { return fmt.Sprintf("%016x", uint64(r)) }

// ParseRoot reads what String wrote.
func ParseRoot(s string) (Root, error) {
	if len(s) != 16 {
		return 0, fmt.Errorf("chunk: root has %d characters, want 16", len(s))
	}
	n, err := strconv.ParseUint(s, 16, 64)
	if err != nil || Root(n).String() != s {
		return 0, errors.New("chunk: root is not of 16 hexadecimal digits in lower case")
	}
	return Root(n), nil
}

// Domain is who may share chunks: equal content is stored once within a domain,
// and cannot be told to be equal across domains.
type Domain string

// Common is the domain of what the operator has allowed all accounts to share:
// managed runtimes and listed base images.
const Common Domain = "common"

// AccountDomain is the domain of one account's code and images.
func AccountDomain(account string) Domain { return Domain("account/" + account) }

// FunctionDomain is the domain of one function's snapshots: they hold secrets
// that can be guessed.
func FunctionDomain(account, function string) Domain {
	return Domain("function/" + account + "/" + function)
}

// ExtraSize is the length of an Extra in bytes.
const ExtraSize = 80

const extraVersion = 1

// Extra is what makes the keys of equal content differ where they must: it is
// hashed with each chunk, and part of it.
//
//	bytes  content
//	0–1    version, 1
//	2–3    0
//	4–7    epoch of the salt, big-endian
//	8–15   root, big-endian
//	16–47  SHA-256 of the salt: a secret of this cluster
//	48–79  SHA-256 of the domain
type Extra [ExtraSize]byte

// Salt is a secret of a cluster. A new epoch has a new one.
type Salt struct {
	Epoch  uint32
	Secret [32]byte
}

// String implements fmt.Stringer.
func (Salt) String() string { return "[salt]" }

// GoString is what %#v shows.
func (Salt) GoString() string { return "[salt]" }

// NewExtra returns the Extra of a domain's chunks in a root.
func NewExtra(salt *Salt, root Root, domain Domain) *Extra {
	var e Extra
	binary.BigEndian.PutUint16(e[0:], extraVersion)
	binary.BigEndian.PutUint32(e[4:], salt.Epoch)
	binary.BigEndian.PutUint64(e[8:], uint64(root))
	secret := sha256.Sum256(salt.Secret[:])
	copy(e[16:], secret[:])
	of := sha256.Sum256([]byte(domain))
	copy(e[48:], of[:])
	return &e
}

// Matches says whether an Extra is of a root, an epoch and a domain. Of which
// salt it is, only a chunk tells.
func (e *Extra) Matches(root Root, epoch uint32, domain Domain) bool {
	of := sha256.Sum256([]byte(domain))
	return binary.BigEndian.Uint16(e[0:]) == extraVersion && binary.BigEndian.Uint32(e[4:]) == epoch &&
		binary.BigEndian.Uint64(e[8:]) == uint64(root) && [32]byte(e[48:]) == of
}

// String implements fmt.Stringer: an Extra is not to be shown.
func (*Extra) String() string { return "[extra]" }

// GoString is what %#v shows.
func (*Extra) GoString() string { return "[extra]" }
