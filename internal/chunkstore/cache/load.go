package cache

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"hearth/internal/chunk"
)

// On the disk, a chunk is the file ab/ROOT.NAME.
const (
	tempDir   = "tmp"
	indexName = "index"
)

func fileName(ref chunk.Ref) string {
	name := ref.Name.String()
	return name[:2] + "/" + ref.Root.String() + "." + name
}

// parseFileName reads the last element of what fileName wrote.
func parseFileName(shard, base string) (chunk.Ref, bool) {
	root, name, _ := strings.Cut(base, ".")
	r, err := chunk.ParseRoot(root)
	if err != nil {
		return chunk.Ref{}, false
	}
	n, err := chunk.ParseName(name)
	return chunk.Ref{Root: r, Name: n}, err == nil && name[:2] == shard
}

// load finds what an earlier cache left. The directories say what is there, the
// index how it was used.
func (c *Cache) load() error {
	if err := c.layout(); err != nil {
		return err
	}
	histories := make(map[chunk.Ref]history)
	now := c.cfg.Now().UnixNano()
	if b, err := c.cfg.Disk.ReadFile(indexName, maxIndex); err == nil {
		// An index that cannot be read is as good as none.
		records, _ := parseIndex(b, now)
		for _, r := range records {
			histories[r.ref] = r.history
		}
	}
	for i := range 256 {
		if err := c.loadShard(fmt.Sprintf("%02x", i), histories, now); err != nil {
			return err
		}
	}
	for _, e := range c.disk.shrink() {
		if err := c.cfg.Disk.Remove(fileName(e.ref)); err != nil {
			return err
		}
	}
	return nil
}

func (c *Cache) layout() error {
	on := c.cfg.Disk
	for i := -1; i < 256; i++ {
		dir := tempDir
		if i >= 0 {
			dir = fmt.Sprintf("%02x", i)
		}
		if err := on.Mkdir(dir); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	left, err := on.ReadDir(tempDir)
	if err != nil {
		return err
	}
	for _, e := range left {
		if err := on.Remove(path.Join(tempDir, e.Name())); err != nil {
			return err
		}
	}
	return nil
}

// loadShard takes up the files of one directory, unread. What cannot be a
// chunk is removed.
func (c *Cache) loadShard(shard string, histories map[chunk.Ref]history, now int64) error {
	entries, err := c.cfg.Disk.ReadDir(shard)
	if err != nil {
		return err
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			return err
		}
		ref, ok := parseFileName(shard, e.Name())
		if !ok || !info.Mode().IsRegular() || info.Size() < chunk.Overhead || info.Size() > chunk.MaxCiphertext {
			if err := c.cfg.Disk.Remove(path.Join(shard, e.Name())); err != nil {
				return err
			}
			continue
		}
		h, ok := histories[ref]
		if !ok {
			at := max(0, min(info.ModTime().UnixNano(), now))
			h = history{last: at, recent: at}
		}
		c.disk.restore(ref, info.Size(), filed{ready: true}, h)
	}
	return nil
}
