package registry

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"net/http"
	"path"
	"time"

	"hearth/internal/ociname"
)

// upload is a blob that is coming.
type upload struct {
	// turn is held by the one request at a time that works on it.
	turn chan struct{}
	path string

	// These belong to the holder of turn.
	size int64
	hash hash.Hash // of all bytes; nil after a restart
	over bool

	touched time.Time // guarded by account.room
}

func newUpload(path string, size int64, touched time.Time) *upload {
	return &upload{turn: make(chan struct{}, 1), path: path, size: size, touched: touched}
}

func uploadKey(name, id string) string { return name + "/" + id }

// loadUploads takes up the uploads that a former life left.
func (s *Store) loadUploads(a *account, name string) error {
	entries, err := s.disk.ReadDir(a.repository(name, uploadsDir))
	if err != nil {
		return err
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			return err
		}
		a.uploads[uploadKey(name, e.Name())] = newUpload(a.repository(name, uploadsDir, e.Name()), info.Size(), info.ModTime())
	}
	return nil
}

// StartUpload begins a blob and returns the upload's id.
func (s *Store) StartUpload(_ context.Context, id, name string) (string, error) {
	if err := checkName(name); err != nil {
		return "", err
	}
	a, err := s.find(id, true)
	if err != nil {
		return "", err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := s.needRepository(a, name); err != nil {
		return "", err
	}
	if err := s.take(a, cost(0)); err != nil {
		return "", err
	}
	upload := rand.Text()
	file := a.repository(name, uploadsDir, upload)
	f, err := s.createUpload(a, name, upload, file)
	if err == nil {
		err = f.Close()
	}
	if err == nil {
		err = s.disk.SyncDir(path.Dir(file))
	}
	if err != nil {
		s.forget(a, uploadKey(name, upload))
		_ = s.disk.Remove(file) // it may not have come to be
		s.give(a, cost(0))
		return "", explain(err)
	}
	return upload, nil
}

func (s *Store) createUpload(a *account, name, id, file string) (file, error) {
	u := newUpload(file, 0, s.now())
	u.hash = sha256.New()
	a.room.Lock()
	defer a.room.Unlock()
	if len(a.uploads) >= maxUploads {
		return nil, refuse(http.StatusTooManyRequests, "TOOMANYREQUESTS",
			"the account has %d uploads under way; finish or delete some, or wait: after a day without a byte they are given up", maxUploads)
	}
	f, err := s.disk.Create(file)
	if err == nil {
		a.uploads[uploadKey(name, id)] = u
	}
	return f, err
}

// open waits for the caller's turn to work on an upload. The caller ends it by
// done.
func (s *Store) open(ctx context.Context, id, name, uploadID string) (*account, *upload, error) {
	if !uploadPattern.MatchString(uploadID) {
		return nil, nil, unknownUpload()
	}
	if err := checkName(name); err != nil {
		return nil, nil, err
	}
	a, err := s.find(id, false)
	if err != nil {
		return nil, nil, err
	}
	if a == nil {
		return nil, nil, unknownUpload()
	}
	a.room.Lock()
	u := a.uploads[uploadKey(name, uploadID)]
	a.room.Unlock()
	if u == nil {
		return nil, nil, unknownUpload()
	}
	select {
	case u.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, nil, context.Cause(ctx)
	}
	if u.over {
		u.done()
		return nil, nil, unknownUpload()
	}
	a.room.Lock()
	u.touched = s.now()
	a.room.Unlock()
	return a, u, nil
}

func (u *upload) done() { <-u.turn }

func (s *Store) forget(a *account, key string) {
	a.room.Lock()
	defer a.room.Unlock()
	delete(a.uploads, key)
}

// UploadSize returns how many bytes of an upload are there.
func (s *Store) UploadSize(ctx context.Context, id, name, uploadID string) (int64, error) {
	_, u, err := s.open(ctx, id, name, uploadID)
	if err != nil {
		return 0, err
	}
	defer u.done()
	return u.size, nil
}

// AtEnd is the offset of bytes that follow what is there.
const AtEnd = -1

// Append adds what r gives to an upload, durably, and returns how much is
// there now. When r fails, what it gave is kept, to go on from there; when the
// disk does, the upload is over.
func (s *Store) Append(ctx context.Context, id, name, uploadID string, offset int64, r io.Reader) (int64, error) {
	a, u, err := s.open(ctx, id, name, uploadID)
	if err != nil {
		return 0, err
	}
	defer u.done()
	if offset != AtEnd && offset != u.size {
		e := refuse(http.StatusRequestedRangeNotSatisfiable, "BLOB_UPLOAD_INVALID",
			"the bytes begin at %d, and %d are there; ask how many there are, and go on from there", offset, u.size)
		e.offset = u.size
		return u.size, e
	}
	if err := s.rehash(ctx, u); err != nil {
		return u.size, err
	}
	f, err := s.disk.Append(u.path)
	if err != nil {
		return u.size, errors.Join(explain(err), s.drop(a, u, name, uploadID))
	}
	readErr, err := s.copy(a, u, f, contextReader{ctx, r})
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return u.size, errors.Join(explain(err), s.drop(a, u, name, uploadID))
	}
	return u.size, readErr
}

const copySize = 256 << 10

// copy tells errors of the reader from those of the disk.
func (s *Store) copy(a *account, u *upload, w io.Writer, r io.Reader) (readErr, err error) {
	buf := make([]byte, copySize)
	for readErr == nil {
		var n int
		for n < len(buf) && readErr == nil {
			var m int
			m, readErr = r.Read(buf[n:])
			n += m
		}
		more := cost(u.size+int64(n)) - cost(u.size)
		if err := s.take(a, more); err != nil {
			return nil, err
		}
		if _, err := w.Write(buf[:n]); err != nil {
			s.give(a, more)
			return nil, err
		}
		u.hash.Write(buf[:n])
		u.size += int64(n)
	}
	if readErr == io.EOF {
		readErr = nil
	}
	return readErr, nil
}

// rehash reads what a former life left of an upload.
func (s *Store) rehash(ctx context.Context, u *upload) (err error) {
	if u.hash != nil {
		return nil
	}
	f, err := s.disk.Open(u.path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	h := sha256.New()
	if u.size, err = io.Copy(h, contextReader{ctx, f}); err != nil {
		return err
	}
	u.hash = h
	return nil
}

// drop ends an upload and removes what there is of it. The caller holds turn.
func (s *Store) drop(a *account, u *upload, name, uploadID string) error {
	u.over = true
	s.forget(a, uploadKey(name, uploadID))
	if err := s.disk.Remove(u.path); err != nil {
		return err // the next OpenStore finds it
	}
	s.give(a, cost(u.size))
	return nil
}

// CancelUpload ends an upload.
func (s *Store) CancelUpload(ctx context.Context, id, name, uploadID string) error {
	a, u, err := s.open(ctx, id, name, uploadID)
	if err != nil {
		return err
	}
	defer u.done()
	return s.drop(a, u, name, uploadID)
}

// FinishUpload makes a blob of an upload whose bytes have the digest. If they
// have another, the upload is over.
func (s *Store) FinishUpload(ctx context.Context, id, name, uploadID, digest string) error {
	if err := checkDigest(digest); err != nil {
		return err
	}
	a, u, err := s.open(ctx, id, name, uploadID)
	if err != nil {
		return err
	}
	defer u.done()
	if err := s.rehash(ctx, u); err != nil {
		return err
	}
	if got := ociname.Sum(u.hash.Sum(nil)); got != digest {
		return errors.Join(refuse(http.StatusBadRequest, "DIGEST_INVALID", "the bytes have the digest %s, not %s; push again", got, digest),
			s.drop(a, u, name, uploadID))
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	// The link first: without its blob it is nothing, and the upload is there
	// to be finished; a blob without a link would be garbage.
	if err := s.linkBlob(a, name, digest); err != nil {
		return err
	}
	return explain(s.publish(a, u, name, uploadID, digest))
}

// publish gives an upload's file its name among the blobs. The account is
// locked.
func (s *Store) publish(a *account, u *upload, name, uploadID, digest string) error {
	known, err := s.there(a.blob(digest))
	if err != nil {
		return err
	}
	if known {
		return s.drop(a, u, name, uploadID)
	}
	if err := s.syncUpload(u); err != nil {
		return err
	}
	if err := s.disk.Rename(u.path, a.blob(digest)); err != nil {
		return err
	}
	u.over = true
	s.forget(a, uploadKey(name, uploadID))
	return s.disk.SyncDir(a.path(blobsDir))
}

// syncUpload makes durable what an interrupted request or a former life wrote
// and nobody has acknowledged.
func (s *Store) syncUpload(u *upload) error {
	f, err := s.disk.Append(u.path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// linkBlob makes an account's blob one of a repository. The account is locked.
func (s *Store) linkBlob(a *account, name, digest string) error {
	link := a.link(name, digest)
	known, err := s.there(link)
	if err != nil {
		return err
	}
	if known {
		return explain(s.disk.Touch(link, s.now()))
	}
	if err := s.take(a, cost(0)); err != nil {
		return err
	}
	f, err := s.disk.Create(link)
	if err != nil {
		s.give(a, cost(0))
		return explain(err)
	}
	return explain(errors.Join(f.Close(), s.disk.Touch(link, s.now()), s.disk.SyncDir(path.Dir(link))))
}

// has says whether a blob is one of a repository.
func (s *Store) has(a *account, name, digest string) (bool, error) {
	linked, err := s.there(a.link(name, digest))
	if !linked || err != nil {
		return false, err
	}
	return s.there(a.blob(digest))
}

// Mount makes a blob of one repository one of another, too, and says whether
// the first has it.
func (s *Store) Mount(_ context.Context, id, from, to, digest string) (bool, error) {
	if err := errors.Join(checkName(from), checkName(to), checkDigest(digest)); err != nil {
		return false, err
	}
	a, err := s.find(id, false)
	if a == nil || err != nil {
		return false, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if known, err := s.has(a, from, digest); !known || err != nil {
		return false, err
	}
	if err := s.needRepository(a, to); err != nil {
		return false, err
	}
	return true, s.linkBlob(a, to, digest)
}

// Blob opens a blob of a repository.
func (s *Store) Blob(_ context.Context, id, name, digest string) (io.ReadSeekCloser, int64, error) {
	if err := errors.Join(checkName(name), checkDigest(digest)); err != nil {
		return nil, 0, err
	}
	unknown := refuse(http.StatusNotFound, "BLOB_UNKNOWN", "repository %s has no blob %s", name, digest)
	a, err := s.find(id, false)
	if err != nil {
		return nil, 0, err
	}
	if a == nil {
		return nil, 0, unknown
	}
	if known, err := s.has(a, name, digest); err != nil {
		return nil, 0, err
	} else if !known {
		return nil, 0, unknown
	}
	f, err := s.disk.Open(a.blob(digest))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, 0, unknown // collected meanwhile
	}
	if err != nil {
		return nil, 0, fmt.Errorf("registry: blob %s: %w", digest, err)
	}
	info, err := f.Stat()
	if err != nil {
		return nil, 0, errors.Join(err, f.Close())
	}
	return f, info.Size(), nil
}

// touchAge is how old a link is before looking at it makes it new.
const touchAge = time.Hour

// Keep is told that a client was told of a blob, and relies on it: a push
// leaves out what is there. It is not collected for a day.
func (s *Store) Keep(id, name, digest string) error {
	a, err := s.find(id, false)
	if a == nil || err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	info, err := s.disk.Stat(a.link(name, digest))
	if err != nil || s.now().Sub(info.ModTime()) < touchAge {
		return err
	}
	return s.disk.Touch(a.link(name, digest), s.now())
}
