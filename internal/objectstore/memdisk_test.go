package objectstore

import (
	"io"

	"hearth/internal/rootdir/rootdirtest"
)

// memDisk is a disk that fails when it is told to, and loses power.
type memDisk struct{ *rootdirtest.Disk }

func newMemDisk() memDisk { return memDisk{rootdirtest.New()} }

func (d memDisk) powerCut() memDisk { return memDisk{d.PowerCut()} }

func (d memDisk) Create(name string) (file, error) {
	f, err := d.Disk.Create(name)
	if err != nil {
		return nil, err // not a file that is nil
	}
	return f, nil
}

func (d memDisk) Open(name string) (io.ReadSeekCloser, int64, error) {
	f, err := d.Disk.Open(name)
	if err != nil {
		return nil, 0, err
	}
	return f, f.Size(), nil
}

func (d memDisk) SyncDir(name string) error { return d.Sync(name) }
