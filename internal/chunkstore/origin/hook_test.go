package origin

import (
	"errors"
	"path"
	"sync"
	"syscall"
	"testing"

	"hearth/internal/chunk"
	"hearth/internal/chunkstore/disk/disktest"
)

// hooked calls its functions, if any, before syncing or removing and after
// reading.
type hooked struct {
	*disktest.Disk
	beforeSync, beforeRemove, afterRead func(name string)
}

func (h *hooked) Remove(name string) error {
	if h.beforeRemove != nil {
		h.beforeRemove(name)
	}
	return h.Disk.Remove(name)
}

func (h *hooked) Sync(name string) error {
	if h.beforeSync != nil {
		h.beforeSync(name)
	}
	return h.Disk.Sync(name)
}

func (h *hooked) ReadFile(name string, limit int64) ([]byte, error) {
	b, err := h.Disk.ReadFile(name, limit)
	if h.afterRead != nil {
		h.afterRead(name)
	}
	return b, err
}

// twoOfOneShard returns chunks whose files are in one directory.
func twoOfOneShard() (refs [2]chunk.Ref, ciphertexts [2][]byte) {
	seen := make(map[string]int)
	all, bytes := some(300) // there are 256 directories
	for i, ref := range all {
		dir := path.Dir(chunkPath(ref))
		if first, ok := seen[dir]; ok {
			return [2]chunk.Ref{all[first], ref}, [2][]byte{bytes[first], bytes[i]}
		}
		seen[dir] = i
	}
	panic("no two of them share a directory")
}

// TestFoundWhileCommitted: a build that finds what another one has just made
// visible promises it no sooner than it lasts.
func TestFoundWhileCommitted(t *testing.T) {
	refs, bytes := twoOfOneShard()
	on := &hooked{Disk: disktest.New()}
	d, err := NewDir(on)
	if err != nil {
		t.Fatal(err)
	}
	put(t, d, refs[0], bytes[0], true) // the directory's own name lasts
	found := false
	on.beforeSync = func(name string) {
		if name != path.Dir(chunkPath(refs[1])) || found {
			return
		}
		found = true
		b := d.NewBulk(0)
		defer b.Close()
		put(t, b, refs[1], bytes[1], false)
		if err := b.Flush(t.Context()); err != nil {
			t.Error(err)
		}
		if got := state(t, mustNew(t, on.PowerCut()), refs[1], bytes[1]); got != "whole" {
			t.Errorf("after a power cut: %s", got)
		}
	}
	put(t, d, refs[1], bytes[1], true)
	if !found {
		t.Error("the directory was not synced")
	}
	if len(d.visible) > 0 {
		t.Errorf("%d chunks are taken for ones that do not last", len(d.visible))
	}
}

// TestFoundWhileCommitFails is the same while the other build's commit fails.
func TestFoundWhileCommitFails(t *testing.T) {
	refs, bytes := twoOfOneShard()
	on := &hooked{Disk: disktest.New()}
	d, err := NewDir(on)
	if err != nil {
		t.Fatal(err)
	}
	put(t, d, refs[0], bytes[0], true)
	on.FailEach(syscall.EIO, func(name string) bool { return name == path.Dir(chunkPath(refs[1])) })
	found := false
	on.beforeRemove = func(string) {
		on.beforeRemove = nil
		on.FailEach(nil, nil)
		found = true
		b := d.NewBulk(0)
		defer b.Close()
		put(t, b, refs[1], bytes[1], false)
		if err := b.Flush(t.Context()); err != nil {
			t.Error(err)
		}
		if got := state(t, mustNew(t, on.PowerCut()), refs[1], bytes[1]); got != "whole" {
			t.Errorf("after a power cut: %s", got)
		}
	}
	if _, err := d.PutChunk(t.Context(), refs[1], bytes[1]); !errors.Is(err, syscall.EIO) || !found {
		t.Errorf("the commit did not fail: %v", err)
	}
}

// TestDistrustWhilePut: a copy that is replaced while it is looked at is not
// set aside, whichever process replaces it.
func TestDistrustWhilePut(t *testing.T) {
	for _, elsewhere := range []bool{false, true} {
		ref, b := sealed(7, "x")
		on := &hooked{Disk: disktest.New()}
		d, err := NewDir(on)
		if err != nil {
			t.Fatal(err)
		}
		put(t, d, ref, b, true)
		on.Edit(chunkPath(ref), func(b []byte) []byte { return b[:5] })
		by := d
		if elsewhere {
			by = mustNew(t, on.Disk)
		}
		var puts sync.WaitGroup
		on.afterRead = func(string) {
			on.afterRead = nil
			if !by.commits.TryLock() {
				// It has to wait for the one that looks.
				puts.Go(func() { put(t, by, ref, b, true) })
				return
			}
			by.commits.Unlock()
			put(t, by, ref, b, true)
		}
		if set, err := d.Distrust(t.Context(), ref); err != nil || set == elsewhere {
			t.Errorf("elsewhere %v: set aside %v, %v", elsewhere, set, err)
		}
		puts.Wait()
		if got := state(t, d, ref, b); got != "whole" {
			t.Errorf("elsewhere %v: %s", elsewhere, got)
		}
		if got := state(t, mustNew(t, on.PowerCut()), ref, b); got != "whole" {
			t.Errorf("elsewhere %v: after a power cut: %s", elsewhere, got)
		}
	}
}
