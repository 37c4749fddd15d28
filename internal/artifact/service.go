package artifact

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"sync"

	"golang.org/x/sync/singleflight"

	"hearth/internal/chunk"
	"hearth/internal/flatten"
	"hearth/internal/function"
	"hearth/internal/keyring"
	"hearth/internal/objectstore"
	"hearth/internal/volume"
)

// Keys seal the data keys of manifests.
type Keys interface {
	Seal(ctx context.Context, b keyring.Binding, plaintext []byte) ([]byte, error)
	Open(ctx context.Context, b keyring.Binding, sealed []byte) ([]byte, error)
}

// Roots says where builds write.
type Roots interface {
	// Begin returns the active root. It is not given up before end is called,
	// which is when the build's manifest is visible, or will never be.
	Begin(ctx context.Context) (root chunk.Root, end func(), err error)
}

// Images opens container images by their digest.
type Images interface {
	// Open returns an image that Resolve found earlier. An error that its owner
	// can do something about is a *RefusedError. read is called with the bytes
	// that were read of its layers.
	Open(ctx context.Context, account, resolved string, read func(n int)) (*Image, error)
}

// Image is a container image to be made a volume of.
type Image struct {
	Layers []flatten.Layer // the lowest first
	Config function.ImageConfig
	// Size is that of the layers as they are read.
	Size int64
}

// Store is where chunks are kept.
type Store interface {
	chunk.Source
	// NewBatch begins a build.
	NewBatch() chunk.Batch
	// Distrust is told that a chunk that was read is not the one it should be. A
	// copy that is bad indeed is set aside: the chunk can be put again.
	Distrust(ctx context.Context, ref chunk.Ref) (set bool, err error)
}

// Config is what the service needs.
type Config struct {
	Objects objectstore.Store
	Chunks  Store
	Keys    Keys
	Salt    chunk.Salt
	Roots   Roots
	Images  Images
	// Operator is the account that owns managed runtimes.
	Operator string
	// TempDir is where builds keep what they have unpacked.
	TempDir string
	// Builds is how many volumes are built at once; as many as there are cores
	// if zero.
	Builds int
	// Puts is how many chunks of a build are stored at once; volume.Build's
	// default if zero.
	Puts int
	Log  *slog.Logger
}

// Service makes and finds volumes.
type Service struct {
	cfg Config

	ctx      context.Context
	cancel   context.CancelCauseFunc
	builds   chan struct{}
	building singleflight.Group // by object

	mu sync.Mutex
	// marks are of the objects that are in use.
	marks map[string]*mark
}

// errStopped is why builds end when the service does.
var errStopped = errors.New("artifact: stopping")

// New makes the service.
func New(cfg Config) *Service {
	if cfg.Builds == 0 {
		cfg.Builds = runtime.GOMAXPROCS(0)
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	s := &Service{cfg: cfg, builds: make(chan struct{}, cfg.Builds), marks: make(map[string]*mark)}
	s.ctx, s.cancel = context.WithCancelCause(context.Background())
	return s
}

// Stop ends what is being built.
func (s *Service) Stop() { s.cancel(errStopped) }

// Ref says which volume is wanted.
type Ref struct {
	// Account owns the archive.
	Account string
	// Object is the key of the archive in the object store. For an image, which
	// has none there, it is the key that the volume goes by.
	Object string
	// Image is the container image by its digest; empty for an archive.
	Image string
	// File is a file system that is ready, a managed runtime's; empty for what
	// is somebody's code. All accounts share its chunks.
	File string
}

// domain is with whom the volume's chunks are shared.
func (r *Ref) domain() chunk.Domain {
	if r.File != "" {
		return chunk.Common
	}
	return chunk.AccountDomain(r.Account)
}

// Volume is all that is needed to read a volume.
type Volume struct {
	Manifest *volume.Manifest
	// Encoded is the manifest as it is stored, and DataKey what opens it.
	Encoded []byte
	DataKey []byte
	Extra   *chunk.Extra
	// Image is set for a container image.
	Image *function.ImageConfig
	// Profile lists the chunks that starts touch, in order; nil if nothing is
	// known.
	Profile []uint32
}

// Find returns the volume of an archive or image. If there is none yet, it is
// built. hold, which may be nil, is called with the root of each manifest that
// is read, before Migrate can replace or Delete remove it: whoever collects
// roots learns in time that somebody is about to read one. Of several calls the
// last counts, and an error takes it back.
func (s *Service) Find(ctx context.Context, ref Ref, hold func(chunk.Root)) (*Volume, error) {
	v, err := s.read(ctx, ref, hold)
	switch {
	case isMissing(err):
	case errors.Is(err, volume.ErrManifest) && ref.Image == "":
		// All that it said is in the archive, which is here, too. An image's
		// registry may be away, or have another image by now; and a manifest that
		// is refused (volume.ErrRefused) may have been brought from elsewhere, or
		// the keyring cannot be asked: somebody is to see that.
		s.cfg.Log.LogAttrs(ctx, slog.LevelError, "artifact: a damaged manifest is made anew",
			slog.String("object", ref.Object), slog.Any("error", err))
	default:
		return v, err
	}
	if err := s.make(ctx, ref); err != nil {
		return nil, err
	}
	return s.read(ctx, ref, hold)
}

// Lookup is Find without the building: whoever cannot build asks one who can if
// the error is objectstore.ErrNotFound.
func (s *Service) Lookup(ctx context.Context, ref Ref) (*Volume, error) { return s.read(ctx, ref, nil) }

// make builds a volume, once for all who ask for it meanwhile. One who leaves
// does not end it for the others.
func (s *Service) make(ctx context.Context, ref Ref) error {
	done := s.building.DoChan(ref.Object, func() (any, error) { return nil, s.build(s.ctx, ref) })
	select {
	case r := <-done:
		return r.Err
	case <-ctx.Done():
		return fmt.Errorf("artifact: wait for the build of %s: %w", ref.Object, context.Cause(ctx))
	}
}
