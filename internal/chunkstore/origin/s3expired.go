package origin

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"hearth/internal/chunk"
	"hearth/internal/s3"
)

// A bucket cannot rename a root. Instead an empty object expired/ROOT says that
// a root has expired, and alarm/ROOT that it was read since. So that a read does
// not cost a second request, each process looks for the first of these only once
// in watchEvery for each root that it reads, and not before the read but beside
// it: an alarm may come that much later than a Dir's.
const watchEvery = 30 * time.Second

// watch looks for roots that are read though they have expired.
type watch struct {
	every  time.Duration
	ctx    context.Context //nolint:containedctx // the life of an S3
	cancel context.CancelFunc

	mu      sync.Mutex
	looked  map[chunk.Root]time.Time
	running sync.WaitGroup
}

func (w *watch) start() {
	w.every, w.looked = watchEvery, make(map[chunk.Root]time.Time)
	w.ctx, w.cancel = context.WithCancel(context.Background())
}

func (w *watch) stop() {
	w.mu.Lock()
	w.cancel()
	w.mu.Unlock()
	w.running.Wait()
}

// due says whether a root is to be looked for now. Whoever is told so calls done.
func (w *watch) due(root chunk.Root) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	last, known := w.looked[root]
	if known && time.Since(last) < w.every || w.ctx.Err() != nil {
		return false
	}
	w.looked[root] = time.Now()
	w.running.Add(1)
	return true
}

// failed has the next read look again.
func (w *watch) failed(root chunk.Root) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.looked, root)
}

// watchRead raises the alarm for a root that is being read, if it has expired.
func (s *S3) watchRead(root chunk.Root) {
	if !s.watch.due(root) {
		return
	}
	go func() {
		defer s.watch.running.Done()
		if err := s.Raise(s.watch.ctx, root); err != nil {
			s.watch.failed(root)
		}
	}()
}

func (s *S3) expiredKey(root chunk.Root) string { return s.prefix + expiredDir + "/" + root.String() }
func (s *S3) alarmKey(root chunk.Root) string   { return s.prefix + alarmDir + "/" + root.String() }

// mark makes an empty object.
func (s *S3) mark(ctx context.Context, key string) error {
	return s.client.Put(ctx, s.bucket, key, nil, sha256.Sum256(nil))
}

func (s *S3) marked(ctx context.Context, key string) (bool, error) {
	size, err := s.client.Size(ctx, s.bucket, key)
	return size >= 0 && err == nil, err
}

// Expire has reads of a root raise an alarm. Nothing must be stored in it any
// more. Doing it again changes nothing.
func (s *S3) Expire(ctx context.Context, root chunk.Root) error {
	if err := s.mark(ctx, s.expiredKey(root)); err != nil {
		return fmt.Errorf("expire root %s: %w", root, err)
	}
	return nil
}

// Raise raises the alarm for a root, if it has expired.
func (s *S3) Raise(ctx context.Context, root chunk.Root) error {
	expired, err := s.marked(ctx, s.expiredKey(root))
	if err == nil && expired {
		err = s.mark(ctx, s.alarmKey(root))
	}
	if err != nil {
		return fmt.Errorf("raise the alarm for root %s: %w", root, err)
	}
	return nil
}

// Calm takes a root's alarm back: it is as expired as before.
func (s *S3) Calm(ctx context.Context, root chunk.Root) error {
	if err := s.client.Delete(ctx, s.bucket, s.alarmKey(root)); err != nil {
		return fmt.Errorf("take back the alarm for root %s: %w", root, err)
	}
	return nil
}

// rootsMarked lists the roots that have an object in a directory.
func (s *S3) rootsMarked(ctx context.Context, dir string) ([]chunk.Root, error) {
	prefix := s.prefix + dir + "/"
	var roots []chunk.Root
	for page, err := range s.pages(ctx, prefix, "/") {
		if err != nil {
			return nil, fmt.Errorf("list roots in %s: %w", dir, err)
		}
		for _, o := range page.Objects {
			if root, err := chunk.ParseRoot(o.Key[len(prefix):]); err == nil {
				roots = append(roots, root)
			}
		}
	}
	return roots, nil
}

// Alarms lists the roots that were read after they had expired.
func (s *S3) Alarms(ctx context.Context) ([]chunk.Root, error) { return s.rootsMarked(ctx, alarmDir) }

// Expired lists the roots that have expired, those with an alarm included.
func (s *S3) Expired(ctx context.Context) ([]chunk.Root, error) {
	return s.rootsMarked(ctx, expiredDir)
}

// DeleteExpired is DeleteRoot for a root that has expired, and for no other: one
// for which the alarm was raised is ErrAlarm, and so is one that has chunks and
// was never told to expire. An alarm that is raised meanwhile ends it; what was
// deleted until then is gone.
func (s *S3) DeleteExpired(ctx context.Context, root chunk.Root) (Freed, error) {
	freed, err := s.deleteRoot(ctx, root, func(ctx context.Context) error { return s.mayDelete(ctx, root) })
	if err != nil {
		return freed, err
	}
	if err := s.client.Delete(ctx, s.bucket, s.expiredKey(root)); err != nil {
		return freed, fmt.Errorf("delete root %s: %w", root, err)
	}
	return freed, nil
}

func (s *S3) mayDelete(ctx context.Context, root chunk.Root) error {
	expired, err := s.marked(ctx, s.expiredKey(root))
	if err != nil {
		return err
	}
	alarm, err := s.marked(ctx, s.alarmKey(root))
	if err != nil {
		return err
	}
	if !expired || alarm {
		return ErrAlarm
	}
	return nil
}

// ownerKey is the object that says whose chunks a prefix has.
const ownerKey = "owner"

// ErrOwned says that a bucket has somebody else's chunks.
var ErrOwned = errors.New("the chunks there are another Hearth's")

// Claim makes a prefix of the bucket owner's, or finds that it is. Two who
// collected garbage in one would each delete what is the other's.
func (s *S3) Claim(ctx context.Context, owner string) error {
	key := s.prefix + ownerKey
	for made := false; ; made = true {
		o, err := s.client.Open(ctx, s.bucket, key, "")
		if e, ok := errors.AsType[*s3.Error](err); ok && e.Code == "NoSuchKey" && !made {
			if err := s.client.Put(ctx, s.bucket, key, []byte(owner), sha256.Sum256([]byte(owner))); err != nil {
				return fmt.Errorf("claim bucket %s: %w", s.bucket, err)
			}
			continue // another may have done so meanwhile
		}
		if err != nil {
			return fmt.Errorf("claim bucket %s: %w", s.bucket, err)
		}
		there, err := io.ReadAll(io.LimitReader(o, int64(len(owner)+1)))
		if err := errors.Join(err, o.Close()); err != nil {
			return fmt.Errorf("claim bucket %s: %w", s.bucket, err)
		}
		if string(there) != owner {
			return fmt.Errorf("bucket %s, object %s: %w: give each a prefix of its own", s.bucket, key, ErrOwned)
		}
		return nil
	}
}
