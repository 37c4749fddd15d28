package cache

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"hearth/internal/chunk"
)

// The index file, version 1; docs/formats/chunk-cache.md has the byte table.
const (
	indexMagic  = "HRTHCCI\x01"
	indexHeader = len(indexMagic) + 4
	indexRecord = 8 + 32 + 8 + 8 + 8
	indexFooter = 4
	// maxIndex bounds what is read: about a million chunks.
	maxIndex   = 64 << 20
	maxRecords = (maxIndex - indexHeader - indexFooter) / indexRecord
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// record is what the index tells of a chunk: it is a hint for evictions, and
// says nothing of whether the chunk is there.
type record struct {
	ref     chunk.Ref
	history history
}

func encodeIndex(records []record) []byte {
	b := make([]byte, 0, indexHeader+len(records)*indexRecord+indexFooter)
	b = append(b, indexMagic...)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(records))) //nolint:gosec // bounded by maxIndex
	for _, r := range records {
		b = binary.LittleEndian.AppendUint64(b, uint64(r.ref.Root))
		b = append(b, r.ref.Name[:]...)
		for _, at := range []int64{r.history.last, r.history.recent, r.history.previous} {
			b = binary.LittleEndian.AppendUint64(b, uint64(at)) //nolint:gosec // read back as it was
		}
	}
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

// parseIndex reads what encodeIndex wrote. Times after now, and those out of
// order, are made to fit.
func parseIndex(b []byte, now int64) ([]record, error) {
	if len(b) < indexHeader+indexFooter || !bytes.HasPrefix(b, []byte(indexMagic[:7])) {
		return nil, errors.New("not an index of a cache of chunks")
	}
	if b[7] != indexMagic[7] {
		return nil, fmt.Errorf("version %d, want %d", b[7], indexMagic[7])
	}
	body, sum := b[:len(b)-indexFooter], binary.LittleEndian.Uint32(b[len(b)-indexFooter:])
	if crc32.Checksum(body, castagnoli) != sum {
		return nil, errors.New("wrong checksum")
	}
	n := binary.LittleEndian.Uint32(body[len(indexMagic):])
	rest := body[indexHeader:]
	if uint64(len(rest)) != uint64(n)*uint64(indexRecord) {
		return nil, fmt.Errorf("%d bytes of records, want %d of them", len(rest), n)
	}
	records := make([]record, 0, n)
	for ; len(rest) > 0; rest = rest[indexRecord:] {
		r := record{ref: chunk.Ref{Root: chunk.Root(binary.LittleEndian.Uint64(rest)), Name: chunk.Name(rest[8:40])}}
		at := func(i int, limit int64) int64 {
			return max(0, min(int64(binary.LittleEndian.Uint64(rest[40+8*i:])), limit)) //nolint:gosec // clamped
		}
		r.history.last = at(0, now)
		r.history.recent = at(1, r.history.last)
		r.history.previous = at(2, r.history.recent)
		records = append(records, r)
	}
	return records, nil
}
