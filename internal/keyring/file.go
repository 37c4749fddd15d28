package keyring

import (
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"fmt"
	"time"
)

// ErrDamaged says that the keyring file cannot be understood.
var ErrDamaged = errors.New("damaged keyring file")

// The form of a keyring file; docs/formats/keyring.md describes it.
const (
	magic       = "HEARTHKR"
	fileVersion = 1
	idSize      = 16
	// maxFile bounds a keyring file: some thousand master keys.
	maxFile    = 256 << 10
	maxARN     = 2048
	maxWrapped = 6144 // the longest ciphertext of AWS KMS
)

// Kinds of master keys.
const (
	kindClear   = 1
	kindWrapped = 2
)

// ring is what a keyring file holds.
type ring struct {
	// id tells this keyring from all others; a KMS binds what it wraps to it.
	id      [idSize]byte
	masters []master // by version, the last is the current one
}

// master is a version of the master key as it is stored.
type master struct {
	version uint32
	created time.Time // in seconds
	// arn is the key of the external KMS that wraps this one, or empty.
	arn string
	// key is the key, or what the KMS made of it.
	key []byte
}

func (r *ring) current() master { return r.masters[len(r.masters)-1] }

func (r *ring) encode() []byte {
	b := []byte(magic)
	b = binary.BigEndian.AppendUint16(b, fileVersion)
	b = append(b, r.id[:]...)
	b = binary.BigEndian.AppendUint16(b, uint16(len(r.masters))) //nolint:gosec // bounded by maxFile
	for _, m := range r.masters {
		kind := byte(kindClear)
		if m.arn != "" {
			kind = kindWrapped
		}
		b = binary.BigEndian.AppendUint32(b, m.version)
		b = append(b, kind)
		b = binary.BigEndian.AppendUint64(b, uint64(m.created.Unix())) //nolint:gosec // after 1970
		b = binary.BigEndian.AppendUint16(b, uint16(len(m.arn)))       //nolint:gosec // at most maxARN
		b = append(b, m.arn...)
		b = binary.BigEndian.AppendUint16(b, uint16(len(m.key))) //nolint:gosec // at most maxWrapped
		b = append(b, m.key...)
	}
	sum := sha256.Sum256(b)
	return append(b, sum[:]...)
}

// decodeRing reads a keyring file. Nothing of the content is in its errors.
func decodeRing(b []byte) (*ring, error) {
	bad := func(what string) (*ring, error) { return nil, fmt.Errorf("%w: %s", ErrDamaged, what) }
	if len(b) > maxFile {
		return bad("it is too large")
	}
	if !bytes.HasPrefix(b, []byte(magic)) {
		return bad("it does not begin like one")
	}
	if len(b) < len(magic)+2+idSize+2+sha256.Size {
		return bad("it is cut off")
	}
	if v := binary.BigEndian.Uint16(b[len(magic):]); v != fileVersion {
		return bad(fmt.Sprintf("it has version %d, this hearth reads version %d", v, fileVersion))
	}
	body, sum := b[:len(b)-sha256.Size], sha256.Sum256(b[:len(b)-sha256.Size])
	if subtle.ConstantTimeCompare(sum[:], b[len(body):]) != 1 {
		return bad("its checksum is wrong")
	}
	d := &decoder{rest: body[len(magic)+2:]}
	r := &ring{}
	copy(r.id[:], d.take(idSize))
	count := int(d.uint(2)) //nolint:gosec // two bytes
	for range count {
		m, what := d.master()
		if what != "" {
			return bad(what)
		}
		if len(r.masters) > 0 && m.version <= r.current().version {
			return bad("its keys are not in order")
		}
		r.masters = append(r.masters, m)
	}
	switch {
	case d.short:
		return bad("it is cut off")
	case len(d.rest) > 0:
		return bad("bytes follow its last key")
	case len(r.masters) == 0:
		return bad("it holds no key")
	}
	return r, nil
}

// decoder takes a file apart; what is not there reads as zeros and sets short.
type decoder struct {
	rest  []byte
	short bool
}

func (d *decoder) take(n int) []byte {
	if n > len(d.rest) {
		d.short, d.rest = true, nil
		return make([]byte, min(n, 8))
	}
	b := d.rest[:n]
	d.rest = d.rest[n:]
	return b
}

func (d *decoder) uint(size int) (v uint64) {
	for _, c := range d.take(size) {
		v = v<<8 | uint64(c)
	}
	return v
}

// master reads one key; what says what is wrong with it.
func (d *decoder) master() (m master, what string) {
	m.version = uint32(d.uint(4)) //nolint:gosec // four bytes
	kind := d.uint(1)
	seconds := d.uint(8)
	m.arn = string(d.take(int(d.uint(2))))      //nolint:gosec // two bytes
	m.key = bytes.Clone(d.take(int(d.uint(2)))) //nolint:gosec // two bytes
	switch {
	case d.short:
		return m, "it is cut off"
	case m.version == 0:
		return m, "a key has no version"
	case seconds > 1<<40:
		return m, "a key is from the far future"
	case kind == kindClear && (m.arn != "" || len(m.key) != KeySize):
		return m, "a key has the wrong length"
	case kind == kindWrapped && (m.arn == "" || len(m.arn) > maxARN || len(m.key) == 0 || len(m.key) > maxWrapped):
		return m, "a wrapped key has the wrong length"
	case kind != kindClear && kind != kindWrapped:
		return m, "a key is of an unknown kind"
	}
	m.created = time.Unix(int64(seconds), 0).UTC()
	return m, ""
}
