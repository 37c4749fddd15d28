package volume

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
)

// ErrProfile says that bytes are no access profile of the volume.
var ErrProfile = errors.New("volume: access profile is not valid")

// MaxProfile is the most chunks that a profile names.
const MaxProfile = 1 << 16

// agesAt is after how many recordings counts are halved, so that a profile
// follows a function that changes its ways.
const agesAt = 16

// rarest is the part of the recordings that must have touched a chunk for it to
// be prefetched: one in rarest. What fewer touch costs more than it saves.
const rarest = 4

// Profile is the order in which starts touch a volume's chunks, merged from
// recordings of starts. Source: REAP ("Benchmarking, Analysis, and Optimization
// of Serverless Function Snapshots", ASPLOS 2021) for the working set that is
// stable across starts; DADI (USENIX ATC 2020) for replaying its order.
type Profile struct {
	id         ID
	chunks     int // of the volume
	recordings uint16
	touches    []touched
}

type touched struct {
	index uint32
	count uint16
}

// NewProfile is the profile of a volume of which nothing is known.
func NewProfile(m *Manifest) *Profile { return &Profile{id: m.ID, chunks: len(m.Entries)} }

// For is the profile for another build of the same content in the same chunks.
func (p *Profile) For(m *Manifest) *Profile {
	q := NewProfile(m)
	q.recordings, q.touches = p.recordings, slices.Clone(p.touches)
	return q
}

// Recordings is how many recordings it was merged from, older ones for less.
func (p *Profile) Recordings() int { return int(p.recordings) }

// Order lists the chunks that are worth prefetching, in the order in which they
// will be needed.
func (p *Profile) Order() []uint32 {
	var order []uint32
	for _, t := range p.touches {
		if int(t.count)*rarest >= int(p.recordings) {
			order = append(order, t.index)
		}
	}
	return order
}

// Add merges a recording: chunks in the order of their first touch. Chunks
// that the volume does not have, and repetitions, are ignored. An empty
// recording says nothing.
func (p *Profile) Add(recording []uint32) {
	seen := make(map[uint32]bool, len(recording))
	recording = slices.Clone(recording)
	recording = slices.DeleteFunc(recording, func(i uint32) bool {
		had := seen[i] || uint64(i) >= uint64(p.chunks) //nolint:gosec // positive
		seen[i] = true
		return had
	})
	if len(recording) == 0 {
		return
	}
	recording = recording[:min(len(recording), MaxProfile)]
	if p.recordings >= agesAt {
		p.age()
	}
	p.recordings++
	p.touches = p.merge(recording)
}

// merge counts what is known and puts what is new behind what it followed.
func (p *Profile) merge(recording []uint32) []touched {
	known := make(map[uint32]bool, len(p.touches))
	for _, t := range p.touches {
		known[t.index] = true
	}
	const front = math.MaxUint32
	behind := make(map[uint32][]touched)
	touchedNow := make(map[uint32]bool, len(recording))
	after := uint32(front)
	for _, i := range recording {
		if known[i] {
			after = i
			touchedNow[i] = true
		} else {
			behind[after] = append(behind[after], touched{i, 1})
		}
	}
	merged := append(make([]touched, 0, len(p.touches)+len(recording)), behind[front]...)
	for _, t := range p.touches {
		if touchedNow[t.index] {
			t.count++
		}
		merged = append(append(merged, t), behind[t.index]...)
	}
	return merged[:min(len(merged), MaxProfile)]
}

func (p *Profile) age() {
	p.recordings /= 2
	for i := range p.touches {
		p.touches[i].count /= 2
	}
	p.touches = slices.DeleteFunc(p.touches, func(t touched) bool { return t.count == 0 })
}

const (
	profileMagic   = "HRTHPROF"
	profileVersion = 1
	profileHeader  = 48
	touchSize      = 6
)

// Encode writes a profile, which must have a recording.
func (p *Profile) Encode() ([]byte, error) {
	if p.recordings == 0 {
		return nil, errors.New("volume: encode access profile: nothing was recorded")
	}
	b := make([]byte, 0, profileHeader+len(p.touches)*touchSize+sha256.Size)
	b = append(b, profileMagic...)
	b = binary.BigEndian.AppendUint16(b, profileVersion)
	b = binary.BigEndian.AppendUint16(b, p.recordings)
	b = append(b, p.id[:]...)
	b = binary.BigEndian.AppendUint32(b, uint32(len(p.touches))) //nolint:gosec // at most MaxProfile
	for _, t := range p.touches {
		b = binary.BigEndian.AppendUint32(b, t.index)
		b = binary.BigEndian.AppendUint16(b, t.count)
	}
	sum := sha256.Sum256(b)
	return append(b, sum[:]...), nil
}

// DecodeProfile reads a profile of the volume of m.
func DecodeProfile(b []byte, m *Manifest) (*Profile, error) {
	p, err := decodeProfile(b, m)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrProfile, err)
	}
	return p, nil
}

func decodeProfile(b []byte, m *Manifest) (*Profile, error) {
	be := binary.BigEndian
	if len(b) < profileHeader+sha256.Size {
		return nil, errors.New("it is too short")
	}
	if string(b[:8]) != profileMagic {
		return nil, errors.New("it is something else")
	}
	if version := be.Uint16(b[8:]); version != profileVersion {
		return nil, fmt.Errorf("version %d is not known here, only %d", version, profileVersion)
	}
	n := be.Uint32(b[44:])
	if n > MaxProfile || len(b) != profileHeader+int(n)*touchSize+sha256.Size {
		return nil, errors.New("it is not as long as it says")
	}
	body := b[:len(b)-sha256.Size]
	if sum := sha256.Sum256(body); string(sum[:]) != string(b[len(body):]) {
		return nil, errors.New("its checksum is wrong")
	}
	p := NewProfile(m)
	p.recordings = be.Uint16(b[10:])
	if ID(b[12:]) != m.ID || p.recordings == 0 {
		return nil, errors.New("it is of another volume")
	}
	seen := make(map[uint32]bool, n)
	for e := body[profileHeader:]; len(e) > 0; e = e[touchSize:] {
		t := touched{be.Uint32(e), be.Uint16(e[4:])}
		if int64(t.index) >= int64(p.chunks) || seen[t.index] || t.count < 1 || t.count > p.recordings {
			return nil, fmt.Errorf("chunk %d is not in the volume, twice, or touched too often", t.index)
		}
		seen[t.index] = true
		p.touches = append(p.touches, t)
	}
	return p, nil
}
