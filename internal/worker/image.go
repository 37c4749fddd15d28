package worker

import (
	"context"
	"errors"
	"path/filepath"
	"sync"
)

// mountedImage is a runtime's root, mounted once and shared by all sandboxes.
type mountedImage struct {
	Image
	root string
}

// images mounts runtime images on first use and keeps them mounted.
type images struct {
	source  Images
	volumes Volumes
	dir     string

	mu      sync.Mutex
	mounted map[string]*mountedImage // by digest
}

func newImages(cfg *Config) *images {
	return &images{
		source: cfg.Images, volumes: cfg.Volumes, dir: filepath.Join(cfg.Dir, "images"),
		mounted: make(map[string]*mountedImage),
	}
}

func (s *images) get(ctx context.Context, runtime string) (*mountedImage, error) {
	img, err := s.source.Image(ctx, runtime)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if m := s.mounted[img.Digest]; m != nil {
		return m, nil
	}
	m := &mountedImage{Image: img, root: filepath.Join(s.dir, img.Digest)}
	if err := s.volumes.MountImage(img.Path, m.root); err != nil {
		return nil, err
	}
	s.mounted[img.Digest] = m
	return m, nil
}

func (s *images) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for digest, m := range s.mounted {
		errs = append(errs, s.volumes.Unmount(m.root))
		delete(s.mounted, digest)
	}
	return errors.Join(errs...)
}
