package artifact

import (
	"context"
	"encoding/json"

	"hearth/internal/chunk"
)

// Info tells how a volume is stored.
type Info struct {
	Object string `json:"object"`
	// Size is that of the file system in bytes.
	Size int64 `json:"size"`
	// ChunkSize is in bytes, and Chunks how many there are; Unique is how many
	// different ones of them are stored: those of zeros are not.
	ChunkSize int        `json:"chunkSize"`
	Chunks    int        `json:"chunks"`
	Unique    int        `json:"unique"`
	Root      chunk.Root `json:"root"`
	// Profile is how many chunks are fetched ahead, as Recordings starts have
	// taught.
	Profile    int `json:"profile"`
	Recordings int `json:"recordings"`
	// Built is of the build; nil if nothing is known of it.
	Built *Built `json:"built,omitempty"`
}

// Built says what a build has stored: of so many chunks those that the store did
// not have before. A volume that has moved to another root is as new there.
type Built struct {
	Chunks      int   `json:"chunks"`
	Stored      int   `json:"stored"`
	StoredBytes int64 `json:"storedBytes"`
}

// Inspect tells about the volume of an object; objectstore.ErrNotFound says
// that it has none.
func (s *Service) Inspect(ctx context.Context, object string) (*Info, error) {
	m, _, err := s.manifest(ctx, object)
	if err != nil {
		return nil, err
	}
	unique := make(map[chunk.Name]bool)
	for ref := range m.Refs() {
		unique[ref.Name] = true
	}
	info := &Info{Object: object, Size: m.Size, ChunkSize: m.ChunkSize, Chunks: len(m.Entries), Unique: len(unique), Root: m.Root}
	if p, err := s.profile(ctx, object, m); err == nil { // without one, nothing is fetched ahead
		info.Profile, info.Recordings = len(p.Order()), p.Recordings()
	}
	if b, err := s.get(ctx, object, builtObject); err == nil { // older builds have told nothing
		built := &Built{}
		if json.Unmarshal(b, built) == nil {
			info.Built = built
		}
	}
	return info, nil
}
