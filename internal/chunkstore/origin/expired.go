package origin

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"strings"

	"hearth/internal/chunk"
)

// A root that nobody should need any more is moved to expiredDir. Whoever reads
// from it there moves it on to alarmDir, from which nothing is deleted. Each
// step is a rename of the root's directory, so that of a read and a deletion
// one comes first, in whatever processes they are; and it needs no space.
const (
	expiredDir = "expired"
	alarmDir   = "alarm"
)

// ErrAlarm says that a root is not deleted, as it was read after it had expired
// or has not expired at all.
var ErrAlarm = errors.New("the root of chunks is not expired, or was read since it is")

// Freed is what a deletion has freed.
type Freed struct {
	Chunks int
	Bytes  int64
}

// Expire sets a root aside: it can be read, but that raises an alarm. Nothing
// must be stored in it any more. Doing it again, or to a root without chunks,
// changes nothing.
func (d *Dir) Expire(_ context.Context, root chunk.Root) error {
	if err := d.move(root.String(), path.Join(expiredDir, root.String())); err != nil {
		return fmt.Errorf("expire root %s: %w", root, err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	maps.DeleteFunc(d.durable, func(dir string, _ bool) bool { return strings.HasPrefix(dir, root.String()+"/") })
	return nil
}

// Raise raises the alarm for an expired root, as a read of it does.
func (d *Dir) Raise(_ context.Context, root chunk.Root) error {
	if err := d.move(path.Join(expiredDir, root.String()), path.Join(alarmDir, root.String())); err != nil {
		return fmt.Errorf("raise the alarm for root %s: %w", root, err)
	}
	return nil
}

// Calm takes a root's alarm back: it is as expired as before.
func (d *Dir) Calm(_ context.Context, root chunk.Root) error {
	if err := d.move(path.Join(alarmDir, root.String()), path.Join(expiredDir, root.String())); err != nil {
		return fmt.Errorf("take back the alarm for root %s: %w", root, err)
	}
	return nil
}

// move renames a root's directory, if it is there, durably.
func (d *Dir) move(from, to string) error {
	if err := d.disk.Rename(from, to); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	// Also when it was not there: a process before this one may have moved it
	// and not have come to sync that.
	return d.syncMove(from, to)
}

// syncMove makes a rename of a root's directory durable.
func (d *Dir) syncMove(from, to string) error {
	for _, dir := range []string{path.Dir(to), path.Dir(from)} {
		if err := d.disk.Sync(dir); err != nil {
			return err
		}
	}
	return nil
}

// Alarms lists the roots that were read after they had expired.
func (d *Dir) Alarms(context.Context) ([]chunk.Root, error) { return d.rootsIn(alarmDir) }

// Expired lists the roots that have expired, those with an alarm included.
func (d *Dir) Expired(ctx context.Context) ([]chunk.Root, error) {
	alarms, err := d.Alarms(ctx)
	if err != nil {
		return nil, err
	}
	others, err := d.rootsIn(expiredDir)
	return append(alarms, others...), err
}

// DeleteExpired is DeleteRoot for a root that has expired, and for no other:
// one for which the alarm was raised is ErrAlarm, and so is one that was never
// told to expire.
func (d *Dir) DeleteExpired(ctx context.Context, root chunk.Root) (Freed, error) {
	freed, err := d.doom(ctx, path.Join(expiredDir, root.String()), root)
	if err != nil {
		return freed, err
	}
	for _, name := range []string{root.String(), path.Join(alarmDir, root.String())} {
		if _, err := d.disk.ReadDir(name); err == nil {
			return freed, fmt.Errorf("delete root %s: %w", root, ErrAlarm)
		} else if !errors.Is(err, fs.ErrNotExist) {
			return freed, fmt.Errorf("delete root %s: %w", root, err)
		}
	}
	return freed, nil
}

// doom removes a root's directory, if it is there.
func (d *Dir) doom(ctx context.Context, name string, root chunk.Root) (freed Freed, err error) {
	doomed := path.Join(tempDir, root.String()+"."+rand.Text())
	err = d.disk.Rename(name, doomed)
	if errors.Is(err, fs.ErrNotExist) {
		return Freed{}, nil
	}
	if err == nil {
		err = d.disk.Sync(path.Dir(name))
	}
	if err == nil {
		err = d.removeTree(ctx, doomed, true, &freed)
	}
	if err != nil {
		return freed, fmt.Errorf("delete root %s: %w", root, err)
	}
	return freed, nil
}

// readExpired reads a chunk of a root that was set aside, and raises the alarm.
func (d *Dir) readExpired(ref chunk.Ref) ([]byte, error) {
	// Calm may move the root back in between.
	for _, dir := range []string{expiredDir, alarmDir, expiredDir} {
		b, err := d.disk.ReadFile(path.Join(dir, chunkPath(ref)), chunk.MaxCiphertext)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if dir == expiredDir {
			// That it fails must not fail the read: a file system on which the
			// root cannot be renamed is one on which it cannot be deleted.
			_ = d.move(path.Join(expiredDir, ref.Root.String()), path.Join(alarmDir, ref.Root.String()))
		}
		return b, err
	}
	return nil, fs.ErrNotExist
}
