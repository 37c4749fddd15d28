package registry

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"hearth/internal/ociname"
	"hearth/internal/rootdir"
)

// What is in an account's directory, and in a repository's.
const (
	blobsDir        = "blobs"        // the bytes, by digest
	repositoriesDir = "repositories" // by encoded name
	tempDir         = "tmp"          // what is being written

	uploadsDir   = "uploads"   // blobs that have not come whole
	linksDir     = "links"     // which blobs are the repository's: empty files
	manifestsDir = "manifests" // by digest: media type, newline, bytes
	tagsDir      = "tags"      // by tag: a digest
)

var repositoryDirs = []string{uploadsDir, linksDir, manifestsDir, tagsDir}

const (
	// DefaultQuota is how much an account may store.
	DefaultQuota = 100 << 30
	// maxUploads is how many uploads an account may have under way.
	maxUploads = 1000
	// keepTime is how long an upload that nobody goes on with is kept, and a
	// blob that no manifest names.
	keepTime = 24 * time.Hour
	// fileCost is what a file or directory takes at least.
	fileCost = 4096
)

// StoreOptions say how a store works.
type StoreOptions struct {
	// Quota is how many bytes an account may store; DefaultQuota if zero.
	Quota int64
	// Now is the clock; time.Now if nil.
	Now func() time.Time
}

// Store keeps the repositories of accounts in a directory. Its methods may be
// called concurrently.
type Store struct {
	disk  disk
	quota int64
	now   func() time.Time

	mu       sync.Mutex
	accounts map[string]*account
}

// account is what the store knows of an account without looking at the disk.
type account struct {
	dir string
	// mu orders what makes and removes names, so that nothing is collected
	// while something comes to need it.
	mu sync.Mutex

	room    sync.Mutex // guards what follows; taken last
	used    int64
	uploads map[string]*upload // by repository/ID
}

// OpenStore opens the store in a directory, which must exist and belong to no
// other store. It finishes or sweeps what a crash left, and collects garbage.
func OpenStore(ctx context.Context, dir string, o StoreOptions) (*Store, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("open registry: %w", err)
	}
	s, err := openStore(ctx, rootDisk{rootdir.Dir{Root: root}}, o)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open registry %s: %w", dir, err), root.Close())
	}
	return s, nil
}

func openStore(ctx context.Context, d disk, o StoreOptions) (*Store, error) {
	s := &Store{disk: d, quota: cmp.Or(o.Quota, DefaultQuota), now: o.Now, accounts: map[string]*account{}}
	if s.now == nil {
		s.now = time.Now
	}
	entries, err := d.ReadDir(".")
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if !accountPattern.MatchString(e.Name()) {
			continue
		}
		if s.accounts[e.Name()], err = s.load(ctx, e.Name()); err != nil {
			return nil, fmt.Errorf("account %s: %w", e.Name(), err)
		}
	}
	if _, err := s.Collect(ctx); err != nil {
		return nil, err
	}
	return s, nil
}

// Close releases the directory. Blobs that are open stay readable.
func (s *Store) Close() error { return s.disk.Close() }

// Used returns how much of its quota an account uses.
func (s *Store) Used(id string) (used, quota int64) {
	s.mu.Lock()
	a := s.accounts[id]
	s.mu.Unlock()
	if a == nil {
		return 0, s.quota
	}
	a.room.Lock()
	defer a.room.Unlock()
	return a.used, s.quota
}

// load looks at what is there of an account.
func (s *Store) load(ctx context.Context, id string) (*account, error) {
	a := &account{dir: id, uploads: map[string]*upload{}}
	if err := s.makeAccount(a); err != nil {
		return nil, err
	}
	left, err := s.disk.ReadDir(a.path(tempDir))
	if err != nil {
		return nil, err
	}
	for _, e := range left {
		if err := s.disk.Remove(a.path(tempDir, e.Name())); err != nil {
			return nil, fmt.Errorf("sweep unfinished files: %w", err)
		}
	}
	if err := s.measure(a.path(blobsDir), &a.used); err != nil {
		return nil, err
	}
	names, err := s.repositories(a)
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		// A crash may have left a repository half made.
		if err := s.makeDirs(a, name); err != nil {
			return nil, err
		}
		a.used += repositoryCost
		for _, dir := range repositoryDirs {
			if err := s.measure(a.repository(name, dir), &a.used); err != nil {
				return nil, err
			}
		}
		if err := s.loadUploads(a, name); err != nil {
			return nil, err
		}
	}
	return a, nil
}

// measure adds up what the files of a directory cost.
func (s *Store) measure(dir string, sum *int64) error {
	entries, err := s.disk.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			return err
		}
		*sum += cost(info.Size())
	}
	return nil
}

// cost is what a file takes: blocks, and at least one for its name.
func cost(size int64) int64 { return max(1, (size+fileCost-1)/fileCost) * fileCost }

const repositoryCost = 5 * fileCost

func (a *account) path(elements ...string) string {
	return path.Join(append([]string{a.dir}, elements...)...)
}

func (a *account) blob(digest string) string {
	return a.path(blobsDir, strings.TrimPrefix(digest, ociname.DigestPrefix))
}

// repository is the path of something in a repository.
func (a *account) repository(name string, elements ...string) string {
	return path.Join(append([]string{a.dir, repositoriesDir, encodeName(name)}, elements...)...)
}

func (a *account) link(name, digest string) string {
	return a.repository(name, linksDir, strings.TrimPrefix(digest, ociname.DigestPrefix))
}

func (a *account) manifest(name, digest string) string {
	return a.repository(name, manifestsDir, strings.TrimPrefix(digest, ociname.DigestPrefix))
}

// take reserves room for what is to be written. It is given back by a negative
// amount, which never fails.
func (s *Store) take(a *account, n int64) error {
	a.room.Lock()
	defer a.room.Unlock()
	if n > 0 && n > s.quota-a.used {
		return refuse(http.StatusRequestEntityTooLarge, "TOOLARGE",
			"the account's quota of %d bytes is used up: %d are stored; delete images that are not needed", s.quota, a.used)
	}
	a.used += n
	return nil
}

func (s *Store) give(a *account, n int64) {
	a.room.Lock()
	defer a.room.Unlock()
	a.used -= n
}

// find returns an account, making it if it is to be written to.
func (s *Store) find(id string, writing bool) (*account, error) {
	if !accountPattern.MatchString(id) {
		return nil, fmt.Errorf("registry: %.20q is not an account's id", id)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.accounts[id]
	if a != nil || !writing {
		return a, nil
	}
	a = &account{dir: id, uploads: map[string]*upload{}}
	if err := s.makeAccount(a); err != nil {
		return nil, explain(err)
	}
	s.accounts[id] = a
	return a, nil
}

func (s *Store) makeAccount(a *account) error {
	return s.mkdirs(".", a.dir, a.path(blobsDir), a.path(repositoriesDir), a.path(tempDir))
}

func (s *Store) makeDirs(a *account, name string) error {
	dir := a.repository(name)
	dirs := []string{dir}
	for _, below := range repositoryDirs {
		dirs = append(dirs, path.Join(dir, below))
	}
	return s.mkdirs(a.path(repositoriesDir), dirs...)
}

// mkdirs makes a directory in parent, and others in it, durably.
func (s *Store) mkdirs(parent string, dirs ...string) error {
	for _, dir := range dirs {
		if err := s.disk.Mkdir(dir); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return errors.Join(s.disk.SyncDir(dirs[0]), s.disk.SyncDir(parent))
}

// needRepository makes a repository that is not there. The account is locked.
func (s *Store) needRepository(a *account, name string) error {
	known, err := s.there(a.repository(name))
	if err != nil {
		return err
	}
	if known {
		// A full disk may have let it be made in part.
		if whole, err := s.there(a.repository(name, repositoryDirs[len(repositoryDirs)-1])); whole || err != nil {
			return err
		}
	} else if err := s.take(a, repositoryCost); err != nil {
		return err
	}
	if err := s.makeDirs(a, name); err != nil {
		return errors.Join(explain(err), s.removeRepository(a, name))
	}
	return nil
}

// removeRepository removes a repository that has nothing, and may not be
// whole. The account is locked.
func (s *Store) removeRepository(a *account, name string) error {
	for _, dir := range slices.Backward(repositoryDirs) {
		if err := s.disk.Remove(a.repository(name, dir)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if err := s.disk.Remove(a.repository(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	s.give(a, repositoryCost)
	return nil
}

// write puts a small file in its place, durably and in one step. The account
// is locked.
func (s *Store) write(a *account, name string, data []byte) error {
	before := int64(0)
	if info, err := s.disk.Stat(name); err == nil {
		before = cost(info.Size())
	}
	charge := cost(int64(len(data))) - before
	if err := s.take(a, charge); err != nil {
		return err
	}
	temp := a.path(tempDir, rand.Text())
	err := s.writeTemp(temp, data)
	if err == nil {
		err = s.disk.Rename(temp, name)
	}
	if err != nil {
		_ = s.disk.Remove(temp) // or swept by the next OpenStore
		s.give(a, charge)
		return explain(err)
	}
	return explain(s.disk.SyncDir(path.Dir(name)))
}

func (s *Store) writeTemp(name string, data []byte) error {
	f, err := s.disk.Create(name)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Sync(), f.Close())
}

// remove deletes a file and gives its room back. The account is locked.
func (s *Store) remove(a *account, name string) error {
	info, err := s.disk.Stat(name)
	if err == nil {
		err = s.disk.Remove(name)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	s.give(a, cost(info.Size()))
	return nil
}

// there says whether a file is there.
func (s *Store) there(name string) (bool, error) {
	_, err := s.disk.Stat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// repositories lists an account's repositories in order.
func (s *Store) repositories(a *account) ([]string, error) {
	names, err := s.list(a.path(repositoriesDir))
	for i := range names {
		names[i] = decodeName(names[i])
	}
	slices.Sort(names)
	return names, err
}

func (s *Store) list(dir string) ([]string, error) {
	entries, err := s.disk.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	names := make([]string, 0, len(entries))
	for _, e := range entries {
		names = append(names, e.Name())
	}
	slices.Sort(names)
	return names, nil
}

// Repositories lists the names of an account's repositories in order.
func (s *Store) Repositories(_ context.Context, id string) ([]string, error) {
	a, err := s.find(id, false)
	if a == nil || err != nil {
		return nil, err
	}
	return s.repositories(a)
}

// contextReader ends a copy when ctx ends.
type contextReader struct {
	ctx context.Context //nolint:containedctx // lives for one copy
	r   io.Reader
}

func (c contextReader) Read(p []byte) (int, error) {
	if c.ctx.Err() != nil {
		return 0, context.Cause(c.ctx)
	}
	return c.r.Read(p)
}
