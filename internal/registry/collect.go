package registry

import (
	"context"
	"fmt"
	"strings"

	"hearth/internal/ociname"
)

// Collected says what a collection removed.
type Collected struct {
	Uploads, Links, Blobs, Repositories int
	// Damaged are repositories of which nothing was removed, because one of
	// their manifests cannot be read.
	Damaged []string
}

// Collect removes, of all accounts, uploads that nobody went on with for a
// day, blobs that no manifest has named for a day, and repositories that are
// empty. Pushes may go on meanwhile.
func (s *Store) Collect(ctx context.Context) (Collected, error) {
	s.mu.Lock()
	accounts := make([]*account, 0, len(s.accounts))
	for _, a := range s.accounts {
		accounts = append(accounts, a)
	}
	s.mu.Unlock()
	var c Collected
	for _, a := range accounts {
		if err := s.collect(ctx, a, &c); err != nil {
			return c, fmt.Errorf("registry: collect garbage of account %s: %w", a.dir, err)
		}
	}
	return c, nil
}

// collect holds the account's lock throughout: what a push is told to be there
// is there, or is new enough to be kept.
func (s *Store) collect(ctx context.Context, a *account, c *Collected) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := s.collectUploads(a, c); err != nil {
		return err
	}
	names, err := s.repositories(a)
	if err != nil {
		return err
	}
	linked := map[string]bool{}
	for _, name := range names {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := s.collectLinks(a, name, linked, c); err != nil {
			return err
		}
		if err := s.collectEmpty(a, name, c); err != nil {
			return err
		}
	}
	return s.collectBlobs(a, linked, c)
}

func (s *Store) collectUploads(a *account, c *Collected) error {
	a.room.Lock()
	var old []*upload
	var keys []string
	for key, u := range a.uploads {
		if s.now().Sub(u.touched) > keepTime {
			old, keys = append(old, u), append(keys, key)
		}
	}
	a.room.Unlock()
	for i, u := range old {
		select {
		case u.turn <- struct{}{}:
		default:
			continue // somebody works on it
		}
		at := strings.LastIndexByte(keys[i], '/')
		err := error(nil)
		if !u.over {
			c.Uploads++
			err = s.drop(a, u, keys[i][:at], keys[i][at+1:])
		}
		u.done()
		if err != nil {
			return err
		}
	}
	return nil
}

// collectLinks removes a repository's links that no manifest needs, and notes
// the others.
func (s *Store) collectLinks(a *account, name string, linked map[string]bool, c *Collected) error {
	needed := map[string]bool{}
	err := s.eachManifest(a, name, func(_ string, p *parsed) error {
		for _, d := range p.blobs() {
			needed[strings.TrimPrefix(d.Digest, ociname.DigestPrefix)] = true
		}
		return nil
	})
	damaged := err != nil
	if damaged {
		c.Damaged = append(c.Damaged, a.dir+"/"+name)
	}
	entries, err := s.disk.ReadDir(a.repository(name, linksDir))
	if err != nil {
		return err
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			return err
		}
		if damaged || needed[e.Name()] || s.now().Sub(info.ModTime()) <= keepTime {
			linked[e.Name()] = true
			continue
		}
		c.Links++
		if err := s.remove(a, a.repository(name, linksDir, e.Name())); err != nil {
			return err
		}
	}
	// A link must not come back without its blob.
	return s.disk.SyncDir(a.repository(name, linksDir))
}

// collectEmpty removes a repository that has nothing.
func (s *Store) collectEmpty(a *account, name string, c *Collected) error {
	for _, dir := range repositoryDirs {
		names, err := s.list(a.repository(name, dir))
		if err != nil {
			return err
		}
		if len(names) > 0 {
			return nil
		}
	}
	c.Repositories++
	return s.removeRepository(a, name)
}

func (s *Store) collectBlobs(a *account, linked map[string]bool, c *Collected) error {
	entries, err := s.disk.ReadDir(a.path(blobsDir))
	if err != nil {
		return err
	}
	for _, e := range entries {
		if linked[e.Name()] {
			continue
		}
		// A blob's link is made before it, under the account's lock: a blob
		// without one is nobody's, however new.
		c.Blobs++
		if err := s.remove(a, a.path(blobsDir, e.Name())); err != nil {
			return err
		}
	}
	return nil
}
