// Package disktest has a disk in memory that fails when it is told to, and
// that loses what was not synced when its power is cut.
package disktest

import (
	"io"
	"io/fs"

	"hearth/internal/chunkstore/disk"
	"hearth/internal/rootdir/rootdirtest"
)

// ErrPowerCut is a fault that makes every later operation fail, too.
var ErrPowerCut = rootdirtest.ErrPowerCut

// Disk is a disk.Disk.
type Disk struct{ *rootdirtest.Disk }

var _ disk.Disk = (*Disk)(nil)

// New makes an empty disk.
func New() *Disk { return &Disk{rootdirtest.New()} }

// PowerCut returns the disk as it is found when the power is back.
func (d *Disk) PowerCut() *Disk { return &Disk{d.Disk.PowerCut()} }

// Kill returns the disk as a killed process leaves it.
func (d *Disk) Kill() *Disk { return &Disk{d.Disk.Kill()} }

// WriteFile implements disk.Disk. It counts as two operations: creating and
// writing.
func (d *Disk) WriteFile(name string, data []byte) error {
	f, err := d.Create(name)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return err
}

// ReadFile implements disk.Disk.
func (d *Disk) ReadFile(name string, limit int64) ([]byte, error) {
	f, err := d.Open(name)
	if err != nil {
		return nil, err
	}
	if f.Size() > limit {
		return nil, disk.ErrTooLong
	}
	return io.ReadAll(f)
}

// Stat implements disk.Disk.
func (d *Disk) Stat(name string) (disk.Info, error) {
	info, err := d.Disk.Stat(name)
	if err != nil {
		return disk.Info{}, err
	}
	if info.IsDir() {
		return disk.Info{}, fs.ErrNotExist
	}
	return disk.Info{Size: info.Size(), Modified: info.ModTime()}, nil
}
