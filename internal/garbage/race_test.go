package garbage_test

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"hearth/internal/artifact"
	"hearth/internal/chunk"
	"hearth/internal/chunkstore/disk"
	"hearth/internal/chunkstore/origin"
	"hearth/internal/garbage"
	"hearth/internal/keyring"
	"hearth/internal/objectstore"
	"hearth/internal/volume"
)

const account = "000000000000"

// stage is a collector among the real services.
type stage struct {
	t         *testing.T
	clock     *clock
	objects   *objectstore.Dir
	chunks    *origin.Dir
	attached  *origin.Dir // as another process has it
	service   *garbage.Service
	artifacts *artifact.Service
	readers   *readers
	cycles    *counter
	// slow are the objects whose builds wait for some cycles before they end.
	slow sync.Map
	// failing has every third move fail.
	failing atomic.Bool
	moves   atomic.Int64
}

// counter is waited for.
type counter struct {
	mu   sync.Mutex
	more *sync.Cond
	n    int
}

func (c *counter) add() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n++
	c.more.Broadcast()
}

func (c *counter) await(more int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for until := c.n + more; c.n < until; {
		c.more.Wait()
	}
}

func newStage(t *testing.T) *stage {
	t.Helper()
	s := &stage{t: t, clock: newClock(), readers: newReaders(), cycles: &counter{}}
	s.cycles.more = sync.NewCond(&s.cycles.mu)
	chunks := t.TempDir()
	var err error
	if s.objects, err = objectstore.OpenDir(t.TempDir()); err != nil {
		t.Fatal(err)
	}
	on, err := disk.OpenRoot(chunks)
	if err != nil {
		t.Fatal(err)
	}
	if s.chunks, err = origin.NewDir(unsynced{on}); err != nil {
		t.Fatal(err)
	}
	if s.attached, err = origin.AttachDir(chunks); err != nil {
		t.Fatal(err)
	}
	s.service, err = garbage.Open(t.Context(), garbage.Config{
		Store: &memStore{life: forever}, Chunks: s.chunks, Rotation: 1, Expiry: 1, Every: 1000 * time.Hour, Now: s.clock.Now,
	})
	if err != nil {
		t.Fatal(err)
	}
	s.artifacts = artifact.New(artifact.Config{
		Objects: s.objects, Chunks: s.chunks, Keys: s, Salt: chunk.Salt{Epoch: 1}, Roots: s.service, TempDir: t.TempDir(),
		Log: slog.New(slog.NewTextHandler(complaints{t}, &slog.HandlerOptions{Level: slog.LevelWarn})),
	})
	s.service.Start(s, s.readers)
	t.Cleanup(func() {
		s.service.Stop()
		s.artifacts.Stop()
		if err := errors.Join(s.objects.Close(), s.chunks.Close(), s.attached.Close()); err != nil {
			t.Error(err)
		}
	})
	return s
}

// complaints fail the test: what the collector has broken must not be mended
// before anybody sees it.
type complaints struct{ t *testing.T }

func (c complaints) Write(line []byte) (int, error) {
	c.t.Errorf("%s", line)
	return len(line), nil
}

// unsynced is a disk without syncs: there are no power cuts here, and a sync
// waits for all that others on the machine have written.
type unsynced struct{ disk.Root }

func (unsynced) Sync(string) error { return nil }
func (unsynced) SyncAll() error    { return nil }

// Seal implements artifact.Keys. A manifest is sealed when its chunks are
// stored, and not visible yet.
func (s *stage) Seal(_ context.Context, b keyring.Binding, plaintext []byte) ([]byte, error) {
	if _, slow := s.slow.LoadAndDelete(b.Record[:len(b.Record)-65]); slow {
		s.cycles.await(4)
	}
	return json.Marshal(sealed{b, plaintext})
}

type sealed struct {
	Binding   keyring.Binding
	Plaintext []byte
}

// Open implements artifact.Keys.
func (s *stage) Open(_ context.Context, b keyring.Binding, ciphertext []byte) ([]byte, error) {
	var v sealed
	if err := json.Unmarshal(ciphertext, &v); err != nil || v.Binding != b {
		return nil, errors.New("refused")
	}
	return v.Plaintext, nil
}

// Placed implements garbage.Volumes.
func (s *stage) Placed(ctx context.Context) ([]artifact.Placed, error) {
	return s.artifacts.Placed(ctx)
}

// Migrate implements garbage.Volumes.
func (s *stage) Migrate(ctx context.Context, object string) (bool, volume.Stats, error) {
	if s.failing.Load() && s.moves.Add(1)%3 == 0 {
		return false, volume.Stats{}, errBroken
	}
	return s.artifacts.Migrate(ctx, object)
}

// Mend implements garbage.Volumes.
func (s *stage) Mend(ctx context.Context, object string) (int, error) {
	return s.artifacts.Mend(ctx, object)
}

// Names implements garbage.Volumes.
func (s *stage) Names(ctx context.Context, root chunk.Root) (map[chunk.Name]struct{}, error) {
	return s.artifacts.Names(ctx, root)
}

func (s *stage) collect() *garbage.Report {
	s.clock.forward(time.Second)
	r, err := s.service.Collect(s.t.Context(), garbage.Options{})
	if err != nil {
		s.t.Error(err)
	}
	if r != nil && len(r.Alarms) > 0 {
		s.t.Errorf("alarms for %v", r.Alarms)
	}
	s.cycles.add()
	return r
}

// upload stores an archive of one file.
func (s *stage) upload(object string, content []byte) error {
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	w, err := z.CreateHeader(&zip.FileHeader{Name: "app", Method: zip.Store})
	if err == nil {
		_, err = w.Write(content)
	}
	if err := errors.Join(err, z.Close()); err != nil {
		return err
	}
	return s.objects.Put(s.t.Context(), object, &b)
}

// open finds a volume and holds it until it is released, as volumefs does.
func (s *stage) open(object string) (v *artifact.Volume, release func(), err error) {
	var held chunk.Root
	v, err = s.artifacts.Find(s.t.Context(), artifact.Ref{Account: account, Object: object}, func(root chunk.Root) {
		s.readers.add(root, 1)
		held = root
	})
	return v, func() {
		if held != 0 {
			s.readers.add(held, -1)
		}
	}, err
}

// whole reads all of a volume, and finds the content in it.
func (s *stage) whole(v *artifact.Volume, content []byte) error {
	keys, err := v.Manifest.Unseal(s.t.Context(), dataKey(v.DataKey))
	if err != nil {
		return err
	}
	opened, err := volume.Open(v.Manifest, keys, v.Extra, s.attached, volume.Options{})
	if err != nil {
		return err
	}
	all := make([]byte, opened.Size())
	if _, err := opened.ReadAt(s.t.Context(), all, 0); err != nil {
		return err
	}
	if !bytes.Contains(all, content) {
		return errors.New("the content is another")
	}
	return nil
}

type dataKey []byte

func (dataKey) Seal(context.Context, []byte, []byte) ([]byte, error) {
	return nil, errors.ErrUnsupported
}
func (k dataKey) Open(context.Context, []byte, []byte) ([]byte, error) { return k, nil }

// remove deletes a volume and its archive, as the control plane does.
func (s *stage) remove(object string) error {
	return errors.Join(s.artifacts.Delete(s.t.Context(), object), s.objects.Delete(s.t.Context(), object))
}

// library is what is deployed.
type library struct {
	mu   sync.Mutex
	live map[string]*deployed
}

type deployed struct {
	object  string
	content []byte
	// gone orders finding against deleting: nobody asks for what they deleted.
	gone    sync.RWMutex
	deleted bool
}

func (l *library) add(d *deployed) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.live[d.object] = d
}

// pick returns one that is deployed, and takes it out if it is to be deleted.
func (l *library) pick(take bool) *deployed {
	l.mu.Lock()
	defer l.mu.Unlock()
	for object, d := range l.live {
		if take {
			delete(l.live, object)
		}
		return d
	}
	return nil
}

func (l *library) size() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.live)
}

// TestRace has builds, reads of whole volumes, deletions and cycles that rotate,
// expire and delete whenever they can, all at once. It must fail without any one
// of the checks of unused.
func TestRace(t *testing.T) {
	t.Parallel()
	const uploaders, uploads, kept = 2, 10, 4
	s := newStage(t)
	l := &library{live: make(map[string]*deployed)}
	s.failing.Store(true)
	done := make(chan struct{})
	var uploading, reading, collecting sync.WaitGroup
	for u := range uploaders {
		uploading.Go(func() {
			for i := range uploads {
				object := fmt.Sprintf("code/%d-%d.zip", u, i)
				if i%3 == 0 {
					s.slow.Store(object, true)
				}
				if err := s.deploy(l, object); err != nil {
					t.Errorf("deploy: %v", err)
				}
				for l.size() > kept {
					if err := s.withdraw(l); err != nil {
						t.Errorf("withdraw: %v", err)
					}
				}
			}
		})
	}
	over := make(chan struct{}) // after done: who reads waits for cycles
	collecting.Go(func() {
		for running(over) {
			s.collect()
		}
	})
	for _, patient := range []bool{false, true} {
		reading.Go(func() {
			for running(done) {
				if d := l.pick(false); d == nil {
					s.cycles.await(1)
				} else if err := s.read(d, patient); err != nil {
					t.Errorf("read %s: %v", d.object, err)
				}
			}
		})
	}
	uploading.Wait()
	close(done)
	reading.Wait()
	close(over)
	collecting.Wait()
	s.settled(l)
}

func running(done chan struct{}) bool {
	select {
	case <-done:
		return false
	default:
		return true
	}
}

func (s *stage) deploy(l *library, object string) error {
	content := make([]byte, 20<<10)
	for i := range content {
		content[i] = byte(rand.Uint32())
	}
	d := &deployed{object: object, content: content}
	if err := s.upload(object, content); err != nil {
		return err
	}
	if err := s.read(d, false); err != nil {
		return err
	}
	l.add(d)
	return nil
}

func (s *stage) withdraw(l *library) error {
	d := l.pick(true)
	if d == nil {
		return nil
	}
	d.gone.Lock()
	defer d.gone.Unlock()
	d.deleted = true
	return s.remove(d.object)
}

// read opens a volume that is deployed, and reads all of it; some cycles later
// if it is patient.
func (s *stage) read(d *deployed, patient bool) error {
	d.gone.RLock()
	if d.deleted {
		d.gone.RUnlock()
		return nil
	}
	v, release, err := s.open(d.object)
	d.gone.RUnlock()
	defer release()
	if err != nil {
		return err
	}
	if patient {
		s.cycles.await(3)
	}
	return s.whole(v, d.content)
}

// settled has the collector come to its end: what is live is all there is.
func (s *stage) settled(l *library) {
	s.failing.Store(false)
	for l.size() > 3 {
		if err := s.withdraw(l); err != nil {
			s.t.Error(err)
		}
	}
	s.collect()
	s.collect()
	if placed, err := s.artifacts.Placed(s.t.Context()); err != nil || len(placed) != len(l.live) {
		s.t.Errorf("volumes %v are left, %d are deployed: %v", placed, len(l.live), err)
	}
	if total := s.service.Totals(); total.Deleted < 5 || total.Chunks == 0 || total.Moved == 0 {
		s.t.Errorf("next to nothing was collected: %+v", total)
	}
	want := make(map[chunk.Name]bool)
	var active chunk.Root
	for _, d := range l.live {
		v, release, err := s.open(d.object)
		if err != nil {
			s.t.Fatal(err)
		}
		if err := s.whole(v, d.content); err != nil {
			s.t.Errorf("read %s: %v", d.object, err)
		}
		release()
		active = v.Manifest.Root
		for _, e := range v.Manifest.Entries {
			if !e.Zero {
				want[e.Name] = true
			}
		}
	}
	live, err := s.chunks.Roots(s.t.Context())
	if expired, err2 := s.chunks.Expired(s.t.Context()); err != nil || err2 != nil || !slices.Equal(live, []chunk.Root{active}) || len(expired) > 1 {
		s.t.Errorf("roots %v and expired %v are left, want %v: %v, %v", live, expired, active, err, err2)
	}
	for info, err := range s.chunks.Chunks(s.t.Context(), active) {
		if err != nil || !want[info.Name] {
			s.t.Errorf("chunk %s is left: %v", info.Name, err)
		}
	}
}
