package blockfs

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
)

// FileOpener shows plain files as volumes. Its spec is {"path": "…"}.
type FileOpener struct{}

// Open implements Opener.
func (FileOpener) Open(_ context.Context, spec json.RawMessage) (Volume, error) {
	var want struct {
		Path string `json:"path"`
	}
	if err := json.Unmarshal(spec, &want); err != nil {
		return nil, fmt.Errorf("spec of a file: %w", err)
	}
	f, err := os.Open(want.Path)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	return &fileVolume{f: f, size: info.Size()}, nil
}

type fileVolume struct {
	f    *os.File
	size int64
}

func (v *fileVolume) Size() int64 { return v.size }

func (v *fileVolume) ReadAt(_ context.Context, p []byte, off int64) (int, error) {
	return v.f.ReadAt(p, off)
}

func (v *fileVolume) Close() error { return v.f.Close() }
