package volume

import (
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"iter"
	"math/bits"

	"hearth/internal/chunk"
)

var (
	// ErrManifest says that bytes are no manifest, or a damaged one.
	ErrManifest = errors.New("volume: manifest is not valid")
	// ErrRefused says that a manifest's keys do not open: it belongs to
	// somebody else, or was changed.
	ErrRefused = errors.New("volume: manifest is refused")
)

// Bounds of what a manifest can describe.
const (
	MinChunkSize = 4 << 10
	MaxChunkSize = chunk.MaxSize
	// MaxSize is the largest volume.
	MaxSize = 64 << 40
	// MaxChunks is the most chunks that a volume is cut into.
	MaxChunks = 1 << 22

	maxDomain  = 512
	maxWrapped = 8 << 10
)

// ID names a volume: equal content in the same root and domain has the same.
type ID [sha256.Size]byte

// String is the ID in hexadecimal.
func (id ID) String() string { return hex.EncodeToString(id[:]) }

// Entry is a chunk of a volume.
type Entry struct {
	// Name is zero if Zero is set.
	Name chunk.Name
	// Zero says that the chunk is of zeros, and not stored.
	Zero bool
}

// Geometry is how a volume is cut.
type Geometry struct {
	// ChunkSize is the length of all chunks but the last.
	ChunkSize int
	// Size is the volume's length in bytes.
	Size int64
}

// Chunks is how many chunks there are.
func (g Geometry) Chunks() int { return int((g.Size + int64(g.ChunkSize) - 1) / int64(g.ChunkSize)) }

// Length is how long a chunk is.
func (g Geometry) Length(index int) int {
	return int(min(int64(g.ChunkSize), g.Size-int64(index)*int64(g.ChunkSize)))
}

func (g Geometry) check() error {
	switch {
	case g.ChunkSize < MinChunkSize || g.ChunkSize > MaxChunkSize || bits.OnesCount(uint(g.ChunkSize)) != 1:
		return fmt.Errorf("chunks of %d bytes", g.ChunkSize)
	case g.Size < 1 || g.Size > MaxSize || g.Size > int64(g.ChunkSize)*MaxChunks:
		return fmt.Errorf("%d bytes in chunks of %d", g.Size, g.ChunkSize)
	}
	return nil
}

// Place is whose chunks a volume's are: what their Extra is made of, less the
// secret.
type Place struct {
	Root   chunk.Root
	Epoch  uint32
	Domain chunk.Domain
}

// Manifest describes a volume. It holds no keys that can be used.
type Manifest struct {
	Geometry
	Place

	ID      ID
	Entries []Entry

	raw     []byte // all bytes before the key table
	wrapped []byte
	table   []byte
}

// Stored is how many chunks are not zeros.
func (m *Manifest) Stored() int {
	n := 0
	for _, e := range m.Entries {
		if !e.Zero {
			n++
		}
	}
	return n
}

// Refs lists the stored chunks in order. One may be listed more than once.
func (m *Manifest) Refs() iter.Seq[chunk.Ref] {
	return func(yield func(chunk.Ref) bool) {
		for _, e := range m.Entries {
			if !e.Zero && !yield(chunk.Ref{Root: m.Root, Name: e.Name}) {
				return
			}
		}
	}
}

const (
	manifestMagic   = "HRTHVOLM"
	manifestVersion = 1
	headerSize      = 48
	idAt            = headerSize
	domainAt        = idAt + sha256.Size
	entrySize       = 1 + sha256.Size
	keySize         = 32
	tableOverhead   = 16

	entryZero = 1
)

// header writes the bytes before the id.
func (m *Manifest) header(wrapped int) []byte {
	b := make([]byte, 0, headerSize)
	b = append(b, manifestMagic...)
	b = binary.BigEndian.AppendUint16(b, manifestVersion)
	b = binary.BigEndian.AppendUint16(b, 0)
	b = binary.BigEndian.AppendUint32(b, uint32(m.ChunkSize)) //nolint:gosec // at most MaxChunkSize
	b = binary.BigEndian.AppendUint64(b, uint64(m.Size))      //nolint:gosec // positive
	b = binary.BigEndian.AppendUint64(b, uint64(m.Root))
	b = binary.BigEndian.AppendUint32(b, m.Epoch)
	b = binary.BigEndian.AppendUint32(b, uint32(len(m.Entries))) //nolint:gosec // at most MaxChunks
	b = binary.BigEndian.AppendUint32(b, uint32(m.Stored()))     //nolint:gosec // at most MaxChunks
	b = binary.BigEndian.AppendUint16(b, uint16(len(m.Domain)))  //nolint:gosec // at most maxDomain
	return binary.BigEndian.AppendUint16(b, uint16(wrapped))     //nolint:gosec // at most maxWrapped
}

func (m *Manifest) entries() []byte {
	b := make([]byte, 0, len(m.Entries)*entrySize)
	for _, e := range m.Entries {
		flags := byte(0)
		if e.Zero {
			flags = entryZero
		}
		b = append(append(b, flags), e.Name[:]...)
	}
	return b
}

// computeID is the id that the manifest must have.
func (m *Manifest) computeID() ID {
	h := sha256.New()
	h.Write(m.header(0))
	h.Write([]byte(m.Domain))
	h.Write(m.entries())
	return ID(h.Sum(nil))
}

// Decode reads a manifest and checks all that can be checked without a key.
// The manifest keeps no part of b.
func Decode(b []byte) (*Manifest, error) {
	m, err := decode(b)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrManifest, err)
	}
	return m, nil
}

func decode(b []byte) (*Manifest, error) {
	if len(b) < domainAt {
		return nil, errors.New("it is too short")
	}
	if string(b[:8]) != manifestMagic {
		return nil, errors.New("it is something else")
	}
	be := binary.BigEndian
	if version := be.Uint16(b[8:]); version != manifestVersion {
		return nil, fmt.Errorf("version %d is not known here, only %d", version, manifestVersion)
	}
	if flags := be.Uint16(b[10:]); flags != 0 {
		return nil, fmt.Errorf("flags %#x are not known here", flags)
	}
	size := be.Uint64(b[16:])
	if size > MaxSize {
		return nil, fmt.Errorf("a volume of %d bytes", size)
	}
	m := &Manifest{
		Geometry: Geometry{ChunkSize: int(be.Uint32(b[12:])), Size: int64(size)},
		Place:    Place{Root: chunk.Root(be.Uint64(b[24:])), Epoch: be.Uint32(b[32:])},
	}
	if err := m.check(); err != nil {
		return nil, err
	}
	n, stored, domain, wrapped := int(be.Uint32(b[36:])), int(be.Uint32(b[40:])), int(be.Uint16(b[44:])), int(be.Uint16(b[46:]))
	switch {
	case n != m.Chunks() || stored > n:
		return nil, fmt.Errorf("%d chunks, %d of them stored, for %d bytes", n, stored, m.Size)
	case domain < 1 || domain > maxDomain || wrapped < 1 || wrapped > maxWrapped:
		return nil, errors.New("a length is out of range")
	case len(b) != domainAt+domain+n*entrySize+wrapped+stored*keySize+tableOverhead:
		return nil, errors.New("it is not as long as it says")
	}
	m.ID = ID(b[idAt:])
	m.Domain = chunk.Domain(b[domainAt : domainAt+domain])
	rest := bytes.Clone(b)
	entries := rest[domainAt+domain:]
	if err := m.decodeEntries(entries[:n*entrySize], stored); err != nil {
		return nil, err
	}
	tableAt := len(b) - stored*keySize - tableOverhead
	m.raw, m.table = rest[:tableAt], rest[tableAt:]
	m.wrapped = rest[tableAt-wrapped : tableAt]
	if want := m.computeID(); subtle.ConstantTimeCompare(want[:], m.ID[:]) != 1 {
		return nil, errors.New("its id is not that of its content")
	}
	return m, nil
}

func (m *Manifest) decodeEntries(b []byte, stored int) error {
	m.Entries = make([]Entry, len(b)/entrySize)
	for i := range m.Entries {
		e := b[i*entrySize:][:entrySize]
		name := chunk.Name(e[1:])
		switch {
		case e[0] == 0:
			stored--
		case e[0] != entryZero:
			return fmt.Errorf("chunk %d has flags %#x, which are not known here", i, e[0])
		case name != chunk.Name{}:
			return fmt.Errorf("chunk %d is of zeros and has a name", i)
		}
		m.Entries[i] = Entry{Name: name, Zero: e[0] == entryZero}
	}
	if stored != 0 {
		return errors.New("it has not as many stored chunks as it says")
	}
	return nil
}
