// Package scratch makes the /tmp volumes of sandboxes: an ext4 file system of
// a promised size in a sparse file, so that what a function writes is bounded
// (ENOSPC beyond it), is no memory but page cache, and takes disk only as it
// is written.
//
// A fresh file system is a copy of a template, made once per size by mke2fs:
// the copy is sparse and takes a few milliseconds.
//
// Invariants:
//
//  1. A volume holds at least the promised size, and at most 2 % more.
//  2. Volumes start empty, always: one is made for one sandbox and removed
//     with it.
//  3. Templates appear by rename, complete or not at all.
//
// Failure modes: mke2fs missing (Make names the package that has it); disk
// full (Make fails; an existing volume gives its function EIO rather than
// ENOSPC, see docs/sandbox.md); no loop device left (mount.ErrNoLoop).
package scratch

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"

	"hearth/internal/mount"
)

// MinMB and MaxMB bound a volume, as AWS bounds EphemeralStorage.
const (
	MinMB = 1
	MaxMB = 10240
)

// Maker makes volumes from templates that it keeps in a directory.
type Maker struct {
	templates string
	mu        sync.Mutex // held while a template is made
}

// New returns a Maker that keeps its templates in dir, which it creates.
func New(dir string) (*Maker, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("scratch: %w", err)
	}
	return &Maker{templates: dir}, nil
}

// Volume is a mounted scratch volume.
type Volume struct {
	// Dir is where it is mounted; anybody may write there (mode 1777).
	Dir   string
	image string
}

// options keep what the function writes cheap. The volume never outlives a
// crash, so nothing is gained by ordering or flushing its writes.
const options = "nobarrier,nodiscard,noinit_itable,noauto_da_alloc,errors=remount-ro"

// Make mounts a new empty volume of sizeMB megabytes at dir/mnt, its image
// beside it. It creates dir, which must not exist.
func (m *Maker) Make(ctx context.Context, dir string, sizeMB int) (*Volume, error) {
	if sizeMB < MinMB || sizeMB > MaxMB {
		return nil, fmt.Errorf("scratch: size of %d MB is not between %d and %d", sizeMB, MinMB, MaxMB)
	}
	template, err := m.template(ctx, sizeMB)
	if err != nil {
		return nil, fmt.Errorf("scratch: template of %d MB: %w", sizeMB, err)
	}
	v := &Volume{Dir: filepath.Join(dir, "mnt"), image: filepath.Join(dir, "image")}
	if err := v.make(template); err != nil {
		return nil, errors.Join(fmt.Errorf("scratch: make %s: %w", dir, err), v.Remove())
	}
	return v, nil
}

func (v *Volume) make(template string) error {
	if err := os.MkdirAll(v.Dir, 0o700); err != nil {
		return err
	}
	if err := copySparse(template, v.image); err != nil {
		return err
	}
	if err := mount.Ext4(v.image, v.Dir, false, options); err != nil {
		return err
	}
	// A function expects an empty /tmp.
	if err := os.Remove(filepath.Join(v.Dir, "lost+found")); err != nil {
		return err
	}
	return os.Chmod(v.Dir, os.ModeSticky|0o777)
}

// Remove unmounts the volume and deletes it. It may be repeated.
func (v *Volume) Remove() error {
	if err := mount.Unmount(v.Dir); err != nil {
		return fmt.Errorf("scratch: %w", err)
	}
	// Should something still be mounted there, Remove fails rather than
	// reach into it.
	for _, path := range []string{v.Dir, v.image, filepath.Dir(v.Dir)} {
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("scratch: %w", err)
		}
	}
	return nil
}

// template returns the path of an empty file system for the size.
func (m *Maker) template(ctx context.Context, sizeMB int) (string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	path := filepath.Join(m.templates, fmt.Sprintf("ext4-v1-%d.img", sizeMB))
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	unfinished := path + ".new"
	if err := format(ctx, unfinished, sizeMB); err != nil {
		return "", errors.Join(err, os.RemoveAll(unfinished))
	}
	return path, os.Rename(unfinished, path)
}

// format makes an empty file system whose free space is sizeMB.
func format(ctx context.Context, image string, sizeMB int) error {
	f, err := os.Create(image)
	if err != nil {
		return err
	}
	if err := errors.Join(f.Truncate(imageBytes(sizeMB)), f.Close()); err != nil {
		return err
	}
	// No journal, no reserve for root, no backup descriptors to resize by; one
	// inode per 32 KB, as many as AWS has in its /tmp.
	cmd := exec.CommandContext(ctx, "mke2fs", "-q", "-F", "-t", "ext4", "-b", "4096", "-m", "0",
		"-N", fmt.Sprint(inodes(sizeMB)), "-I", fmt.Sprint(inodeSize),
		"-O", "^has_journal,^resize_inode,^dir_index,sparse_super2",
		"-E", "lazy_itable_init=1,nodiscard,root_owner=0:0,num_backup_sb=0", image)
	out, err := cmd.CombinedOutput()
	if errors.Is(err, exec.ErrNotFound) {
		return fmt.Errorf("%w; install it with: apt-get install e2fsprogs", err)
	}
	if err != nil {
		return fmt.Errorf("mke2fs: %w: %s", err, bytes.TrimSpace(out))
	}
	return nil
}

const (
	mega      = 1 << 20
	inodeSize = 256
)

// inodes is the number of files that a volume can hold.
func inodes(sizeMB int) int { return max(256, sizeMB*32) }

// imageBytes is the size of the image whose free space is sizeMB: the tables
// are on top, and so is what ext4 holds back of the free space at run time,
// the smaller of 2 % and 16 MB.
func imageBytes(sizeMB int) int64 {
	size := int64(sizeMB) * mega
	tables := int64(inodes(sizeMB)) * inodeSize
	heldBack := min(size/50+size/1000, 16*mega)
	perGroup := (size/(128*mega) + 2) * 64 << 10 // bitmaps and descriptors
	return size + tables + heldBack + perGroup
}
