package logstore

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// maxOpen bounds the files that are open at once.
const maxOpen = 128

// complainEvery bounds how often a failing disk is reported.
const complainEvery = time.Minute

// writer owns the segments that are written; one goroutine uses it.
type writer struct {
	cfg        Config
	files      files
	registry   *registry
	groups     map[Group]*groupFile
	lost       map[Group]int // lines that could not be written
	complained time.Time
}

// groupFile is the segment a group is being written to.
type groupFile struct {
	f    file
	seq  uint64
	size int64
	used time.Time
}

// files is the seam under the writer; tests put a full disk here.
type files interface {
	// Open opens a segment for appending; if create, it must be a new one.
	Open(path string, create bool) (file, error)
}

type file interface {
	io.WriteCloser
	Sync() error
	Truncate(size int64) error
}

type osFiles struct{}

func (osFiles) Open(path string, create bool) (file, error) {
	flags := os.O_WRONLY | os.O_APPEND | unix.O_NOFOLLOW
	if create {
		flags |= os.O_CREATE | os.O_EXCL
	}
	return os.OpenFile(path, flags, 0o600)
}

func newWriter(cfg Config, r *registry, files files) *writer {
	return &writer{cfg: cfg, files: files, registry: r, groups: make(map[Group]*groupFile), lost: make(map[Group]int)}
}

func (w *writer) open() int { return len(w.groups) }

// write appends a batch to its group, after a note about what was lost before.
func (w *writer) write(group Group, b *batch, now time.Time) {
	records := b.records
	if n := w.lost[group]; n > 0 {
		note := appendRecord(nil, now, b.streamOr("hearth"), "", lostNote(n, "the disk could not be written"))
		records = append(note, records...)
	}
	if b.dropped > 0 {
		records = appendRecord(records, now, b.stream, "", lostNote(b.dropped, "they came faster than the disk takes them"))
	}
	if kept, err := w.append(group, records, now); err != nil {
		// The notes count as lines here; nobody needs it exact to one.
		w.lost[group] = max(1, w.lost[group]+b.count+b.dropped-kept)
		if now.Sub(w.complained) >= complainEvery {
			w.complained = now
			w.cfg.Log.LogAttrs(context.Background(), slog.LevelWarn, "logstore: lines of functions are being lost",
				slog.String("group", group.Name), slog.Any("error", err))
		}
		return
	}
	delete(w.lost, group)
}

func lostNote(n int, why string) []byte {
	return fmt.Appendf(nil, "[hearth] %d log lines were dropped here: %s", n, why)
}

// streamOr returns a stream that the batch has lines of.
func (b *batch) streamOr(none string) string {
	if b.stream != "" {
		return b.stream
	}
	if len(b.records) > 0 {
		if e, err := newDecoder(bytes.NewReader(b.records), 0).next(); err == nil {
			return e.Stream
		}
	}
	return none
}

// append writes records to a group and returns how many were written.
func (w *writer) append(group Group, records []byte, now time.Time) (kept int, err error) {
	g, err := w.current(group, int64(len(records)))
	if err != nil {
		return 0, err
	}
	g.used = now
	n, err := g.f.Write(records)
	if err == nil {
		g.size += int64(n)
		return 0, nil
	}
	// A torn record must not stay, as the next batch would follow it. Whole
	// ones do: someone who follows the log may have read them.
	whole, kept := wholeRecords(records[:n])
	g.size += int64(whole)
	if terr := g.f.Truncate(g.size); terr != nil {
		err = errors.Join(err, terr, w.close(group))
	}
	return kept, fmt.Errorf("write log: %w", err)
}

// wholeRecords returns the length and number of the records before the torn
// one at the end of b.
func wholeRecords(b []byte) (length, count int) {
	for len(b)-length >= recordHeader {
		n := recordHeader + int(binary.LittleEndian.Uint32(b[length:]))
		if len(b)-length < n {
			break
		}
		length += n
		count++
	}
	return length, count
}

// current returns the file that a group's next n bytes go to.
func (w *writer) current(group Group, n int64) (*groupFile, error) {
	g := w.groups[group]
	if g != nil && g.size+n <= w.cfg.SegmentBytes {
		return g, nil
	}
	dir := group.path(w.cfg.Dir)
	if g == nil {
		return w.resume(group, dir, n)
	}
	seq := g.seq + 1
	// A segment that is full is worth a sync; nobody will do it later.
	if err := errors.Join(g.f.Sync(), w.close(group)); err != nil {
		return nil, fmt.Errorf("rotate log: %w", err)
	}
	return w.rotate(group, dir, seq)
}

// resume returns the file that a group's next n bytes go to when none is open.
func (w *writer) resume(group Group, dir string, n int64) (*groupFile, error) {
	if w.registry.get(group) == nil {
		if err := w.registry.add(group, nil, w.cfg.Now(), false); err != nil {
			return nil, err
		}
	}
	last, size, err := newest(dir, w.registry.get(group).Trimmed)
	if err != nil {
		return nil, err
	}
	if size > 0 && size+n <= w.cfg.SegmentBytes {
		return w.adopt(group, last, size, false)
	}
	seq := last.seq + 1
	if last.seq == 0 {
		// Segments of a group that was deleted, or has expired as a whole, must
		// not be taken for those of its successor: the clock is ahead of any
		// count of them.
		seq = uint64(max(1, w.cfg.Now().UnixMilli()))
	}
	return w.rotate(group, dir, seq)
}

// abandon closes the file of a group that is about to be removed.
func (w *writer) abandon(group Group) {
	if w.groups[group] != nil {
		w.complain(w.close(group))
	}
	delete(w.lost, group)
}

// rotate begins a segment and removes those that are too many.
func (w *writer) rotate(group Group, dir string, seq uint64) (*groupFile, error) {
	all, err := segments(dir)
	if err != nil {
		return nil, err
	}
	// Before the new one is made, so that a full disk gets room for it.
	for len(all) >= w.cfg.Segments {
		if err := os.Remove(all[0].path); err != nil {
			return nil, fmt.Errorf("rotate log: %w", err)
		}
		all = all[1:]
	}
	path := filepath.Join(dir, fmt.Sprintf(segmentPattern, seq))
	g, err := w.adopt(group, segment{seq, path}, 0, true)
	if err != nil {
		return nil, err
	}
	header := appendHeader(nil, group.Name)
	if _, err := g.f.Write(header); err != nil {
		// Nor must it stay: on a full disk each attempt would leave one, and
		// rotation would take good segments away for them.
		return nil, fmt.Errorf("begin log segment: %w", errors.Join(err, w.close(group), os.Remove(path)))
	}
	g.size = int64(len(header))
	return g, nil
}

func (w *writer) adopt(group Group, s segment, size int64, create bool) (*groupFile, error) {
	if len(w.groups) >= maxOpen {
		if err := w.closeOldest(); err != nil {
			return nil, err
		}
	}
	f, err := w.files.Open(s.path, create)
	if err != nil {
		return nil, fmt.Errorf("open log segment: %w", err)
	}
	g := &groupFile{f: f, seq: s.seq, size: size}
	w.groups[group] = g
	return g, nil
}

// newest returns a group's last segment and its size, which is 0 if nothing
// may be appended to it: a record after a torn one could not be read.
func newest(dir string, trimmed Position) (segment, int64, error) {
	all, err := segments(dir)
	if err != nil || len(all) == 0 {
		return segment{}, 0, err
	}
	last := all[len(all)-1]
	f, err := os.OpenFile(last.path, os.O_RDONLY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return last, 0, fmt.Errorf("open log segment: %w", err)
	}
	d := newDecoder(f, 0)
	_, err = d.header()
	if err == nil && last.seq == trimmed.Segment && trimmed.Offset > d.offset {
		d, err = decoderAt(f, trimmed.Offset)
	}
	for err == nil {
		_, err = d.next()
	}
	size := d.offset
	if !errors.Is(err, io.EOF) {
		size = 0
	}
	if err := f.Close(); err != nil {
		return last, 0, fmt.Errorf("close log segment: %w", err)
	}
	return last, size, nil
}

func (w *writer) close(group Group) error {
	g := w.groups[group]
	delete(w.groups, group)
	return g.f.Close()
}

func (w *writer) closeIdle(now time.Time) {
	for group, g := range w.groups {
		if now.Sub(g.used) >= w.cfg.IdleClose {
			w.complain(w.close(group))
		}
	}
}

func (w *writer) closeOldest() error {
	var oldest Group
	for group, g := range w.groups {
		if w.groups[oldest] == nil || g.used.Before(w.groups[oldest].used) {
			oldest = group
		}
	}
	return w.close(oldest)
}

func (w *writer) closeAll() {
	for group, g := range w.groups {
		w.complain(errors.Join(g.f.Sync(), w.close(group)))
	}
}

func (w *writer) complain(err error) {
	if err != nil {
		w.cfg.Log.LogAttrs(context.Background(), slog.LevelWarn, "logstore: cannot close a log segment", slog.Any("error", err))
	}
}
