package artifact

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"hearth/internal/archive"
	"hearth/internal/chunk"
	"hearth/internal/flatten"
	"hearth/internal/function"
	"hearth/internal/objectstore"
	"hearth/internal/volume"
)

// RefusedError says that an archive or image can be no volume, and why.
type RefusedError struct {
	// Reason says what is wrong and what to do, for the function's owner.
	Reason string
	// NotFound says that there is no such image any more, NoAccess that it is
	// not for this account; otherwise the image or archive itself is at fault.
	NotFound, NoAccess bool
	err                error
}

// Refuse makes a RefusedError of a cause that is for the log.
func Refuse(err error, format string, args ...any) *RefusedError {
	return &RefusedError{Reason: fmt.Sprintf(format, args...), err: err}
}

func (r *RefusedError) Error() string {
	if r.err == nil {
		return "artifact: " + r.Reason
	}
	return "artifact: " + r.Reason + ": " + r.err.Error()
}

// Unwrap returns the cause.
func (r *RefusedError) Unwrap() error { return r.err }

// errDeleted ends the build of a volume that nobody wants any more.
var errDeleted = errors.New("artifact: deleted while its volume was built")

// build makes a volume and stores what describes it.
func (s *Service) build(ctx context.Context, ref Ref) error {
	m := s.mark(ref.Object)
	defer s.unmark(ref.Object)
	deletedBefore := m.deletions()
	p := new(progress)
	m.building.Store(p)
	defer m.building.Store(nil)
	select {
	case s.builds <- struct{}{}:
		defer func() { <-s.builds }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	clock := time.Now()
	build := s.flattenAndStore
	if ref.File != "" {
		build = s.storeFile
	}
	stats, err := build(ctx, job{ref, deletedBefore, p})
	if err != nil {
		return err
	}
	s.cfg.Log.LogAttrs(ctx, slog.LevelInfo, "artifact: volume built",
		slog.String("object", ref.Object), slog.Int64("bytes", stats.Bytes), slog.Int("chunks", stats.Chunks-stats.Zero),
		slog.Int("new", stats.Stored), slog.Duration("took", time.Since(clock)))
	return nil
}

// job is a volume that is being built.
type job struct {
	Ref

	deletedBefore int
	progress      *progress
}

func (s *Service) flattenAndStore(ctx context.Context, j job) (volume.Stats, error) {
	layers, config, closeAll, err := s.layers(ctx, j)
	if err != nil {
		return volume.Stats{}, err
	}
	defer closeAll()
	image, err := flatten.New(ctx, layers, flatten.Options{Dir: s.cfg.TempDir, Limits: flatten.Default()})
	if err != nil {
		return volume.Stats{}, refusal(j.Ref, err)
	}
	defer image.Close()
	return s.store(ctx, j, image, image.Size(), config)
}

// storeFile makes a volume of a file system that is ready.
func (s *Service) storeFile(ctx context.Context, j job) (volume.Stats, error) {
	f, err := os.Open(j.File)
	if err != nil {
		return volume.Stats{}, fmt.Errorf("artifact: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return volume.Stats{}, fmt.Errorf("artifact: %w", err)
	}
	return s.store(ctx, j, f, info.Size(), nil)
}

// layers opens what a volume is made of. Closing gives it back.
func (s *Service) layers(ctx context.Context, j job) (layers []flatten.Layer, config *function.ImageConfig, closeAll func(), err error) {
	if j.Image != "" {
		image, err := s.cfg.Images.Open(ctx, j.Account, j.Image, func(n int) { j.progress.read.Add(int64(n)) })
		if err != nil {
			return nil, nil, nil, err
		}
		j.progress.packed.Store(image.Size)
		return image.Layers, &image.Config, func() {}, nil
	}
	f, size, err := s.cfg.Objects.Open(ctx, j.Object)
	if err != nil {
		return nil, nil, nil, fmt.Errorf("artifact: %w", err)
	}
	at, ok := f.(io.ReaderAt)
	if !ok {
		_ = f.Close()
		return nil, nil, nil, errors.New("artifact: the object store's readers cannot be read at an offset")
	}
	zip := flatten.Zip{Archives: []archive.Source{{ReaderAt: at, Size: size}}, Limits: archive.Default()}
	return []flatten.Layer{zip}, nil, func() { _ = f.Close() }, nil
}

// refusal tells what is wrong with layers from what is wrong with the machine.
func refusal(ref Ref, err error) error {
	if !errors.Is(err, flatten.ErrInvalid) && !errors.Is(err, flatten.ErrTooLarge) {
		return fmt.Errorf("artifact: %w", err)
	}
	what := "archive"
	if ref.Image != "" {
		what = "image"
	}
	return Refuse(nil, "The %s cannot be unpacked: %v.", what, err)
}

// store cuts a file system into chunks and makes its manifest visible.
func (s *Service) store(ctx context.Context, j job, content io.ReaderAt, size int64, config *function.ImageConfig) (volume.Stats, error) {
	root, end, err := s.cfg.Roots.Begin(ctx)
	if err != nil {
		return volume.Stats{}, err
	}
	defer end()
	place := volume.Place{Root: root, Epoch: s.cfg.Salt.Epoch, Domain: j.domain()}
	j.progress.size.Store(size)
	encoded, _, stats, err := s.cut(ctx, j.Ref, content, size, volume.Params{Place: place, Progress: j.progress.note})
	if err != nil {
		return stats, err
	}
	return stats, s.with(j.Object, func(m *mark) error {
		if m.deleted != j.deletedBefore {
			return errDeleted
		}
		return s.write(ctx, j.Ref, encoded, config, &stats)
	})
}

// cut builds a volume in its place and makes its chunks durable.
func (s *Service) cut(ctx context.Context, ref Ref, content io.ReaderAt, size int64, p volume.Params) (
	encoded []byte, m *volume.Manifest, stats volume.Stats, err error,
) {
	batch := s.cfg.Chunks.NewBatch()
	defer batch.Close()
	p.Extra, p.Store, p.Puts = s.extra(p.Place), batch, s.cfg.Puts
	m, keys, stats, err := volume.Build(ctx, content, size, p)
	if err != nil {
		return nil, nil, stats, err
	}
	if err := batch.Flush(ctx); err != nil {
		return nil, nil, stats, err
	}
	encoded, err = m.Encode(ctx, keys, s.sealer(ref))
	return encoded, m, stats, err
}

// extra is what the chunks of a place are encrypted with.
func (s *Service) extra(p volume.Place) *chunk.Extra {
	return chunk.NewExtra(&s.cfg.Salt, p.Root, p.Domain)
}

// isMissing says that there is no such object.
func isMissing(err error) bool { return errors.Is(err, objectstore.ErrNotFound) }
