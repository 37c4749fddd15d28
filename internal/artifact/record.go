package artifact

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"hearth/internal/chunk"
	"hearth/internal/function"
	"hearth/internal/keyring"
	"hearth/internal/volume"
)

// What describes the volume of the object KEY is at volumes/KEY/. The manifest
// is written last and deleted first: while it is there, the rest is.
const (
	prefix         = "volumes/"
	manifestObject = "/manifest"
	imageObject    = "/image"
	builtObject    = "/built"
	profileObject  = "/profile"
)

// maxRecord bounds what is read of one: the manifest of the largest volume is
// a tenth of it.
const maxRecord = 64 << 20

// Purposes of what is sealed.
const (
	dataKeyPurpose = "volume-data-key"
	imagePurpose   = "image-config"
)

// sealer wraps the data key of one volume.
type sealer struct {
	keys Keys
	ref  Ref
	// opened keeps the data key that was unwrapped last.
	opened []byte
}

func (s *Service) sealer(ref Ref) *sealer { return &sealer{keys: s.cfg.Keys, ref: ref} }

func (s *sealer) binding(id []byte) keyring.Binding {
	return keyring.Binding{Account: s.ref.Account, Purpose: dataKeyPurpose, Record: s.ref.Object + "/" + hex.EncodeToString(id)}
}

// Seal implements volume.Sealer.
func (s *sealer) Seal(ctx context.Context, plaintext, id []byte) ([]byte, error) {
	return s.keys.Seal(ctx, s.binding(id), plaintext)
}

// Open implements volume.Sealer.
func (s *sealer) Open(ctx context.Context, sealed, id []byte) (key []byte, err error) {
	s.opened, err = s.keys.Open(ctx, s.binding(id), sealed)
	return s.opened, err
}

// write makes a volume visible. The caller holds the object's mark.
func (s *Service) write(ctx context.Context, ref Ref, manifest []byte, config *function.ImageConfig, stats *volume.Stats) error {
	if config != nil {
		// Images keep secrets in their variables.
		b, err := json.Marshal(config)
		if err != nil {
			return fmt.Errorf("artifact: %w", err)
		}
		sealed, err := s.cfg.Keys.Seal(ctx, imageBinding(ref), b)
		if err != nil {
			return fmt.Errorf("artifact: seal the image's configuration: %w", err)
		}
		if err := s.put(ctx, ref.Object, imageObject, sealed); err != nil {
			return err
		}
	}
	built, err := json.Marshal(Built{Chunks: stats.Chunks - stats.Zero, Stored: stats.Stored, StoredBytes: stats.StoredBytes})
	if err != nil {
		return fmt.Errorf("artifact: %w", err)
	}
	if err := s.put(ctx, ref.Object, builtObject, built); err != nil {
		return err
	}
	return s.put(ctx, ref.Object, manifestObject, manifest)
}

func imageBinding(ref Ref) keyring.Binding {
	return keyring.Binding{Account: ref.Account, Purpose: imagePurpose, Record: ref.Object}
}

// manifest reads what describes an object's volume; objectstore.ErrNotFound
// says that it has none.
func (s *Service) manifest(ctx context.Context, object string) (m *volume.Manifest, encoded []byte, err error) {
	if encoded, err = s.get(ctx, object, manifestObject); err != nil {
		return nil, nil, err
	}
	if m, err = volume.Decode(encoded); err != nil {
		return nil, nil, unusable(object, err)
	}
	return m, encoded, nil
}

// read returns a volume that is there; objectstore.ErrNotFound otherwise.
func (s *Service) read(ctx context.Context, ref Ref, hold func(chunk.Root)) (*Volume, error) {
	v := &Volume{}
	err := s.with(ref.Object, func(*mark) (err error) {
		if v.Manifest, v.Encoded, err = s.manifest(ctx, ref.Object); err == nil && hold != nil {
			hold(v.Manifest.Root)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	seal := s.sealer(ref)
	if _, err := v.Manifest.Unseal(ctx, seal); err != nil {
		return nil, unusable(ref.Object, err)
	}
	v.DataKey, v.Extra = seal.opened, s.extra(v.Manifest.Place)
	if ref.Image != "" {
		if v.Image, err = s.readImage(ctx, ref); err != nil {
			return nil, err
		}
	}
	v.Profile = s.readProfile(ctx, ref, v.Manifest)
	return v, nil
}

func unusable(object string, err error) error {
	return fmt.Errorf("artifact: manifest of %s: %w; update the function's code, or restore %s from a backup",
		object, err, prefix+object+manifestObject)
}

func (s *Service) readImage(ctx context.Context, ref Ref) (*function.ImageConfig, error) {
	sealed, err := s.get(ctx, ref.Object, imageObject)
	if err != nil {
		return nil, err
	}
	b, err := s.cfg.Keys.Open(ctx, imageBinding(ref), sealed)
	if err != nil {
		return nil, fmt.Errorf("artifact: configuration of image %s: %w", ref.Object, err)
	}
	var config function.ImageConfig
	if err := json.Unmarshal(b, &config); err != nil {
		return nil, fmt.Errorf("artifact: configuration of image %s: %w", ref.Object, err)
	}
	return &config, nil
}

func (s *Service) put(ctx context.Context, object, kind string, b []byte) error {
	if err := s.cfg.Objects.Put(ctx, prefix+object+kind, bytes.NewReader(b)); err != nil {
		return fmt.Errorf("artifact: %w", err)
	}
	return nil
}

func (s *Service) get(ctx context.Context, object, kind string) ([]byte, error) {
	f, size, err := s.cfg.Objects.Open(ctx, prefix+object+kind)
	if err != nil {
		return nil, fmt.Errorf("artifact: %w", err)
	}
	defer f.Close()
	if size > maxRecord {
		return nil, fmt.Errorf("artifact: %s%s has %d bytes", object, kind, size)
	}
	b := make([]byte, size)
	if _, err := io.ReadFull(f, b); err != nil {
		return nil, fmt.Errorf("artifact: %w", err)
	}
	return b, nil
}

// Delete forgets the volume of an object, which may have none. Its chunks are
// garbage then. A build or a migration that is under way does not bring it back.
func (s *Service) Delete(ctx context.Context, object string) error {
	return s.with(object, func(m *mark) error {
		m.deleted++
		var errs []error
		for _, kind := range []string{manifestObject, imageObject, profileObject, builtObject} {
			errs = append(errs, s.cfg.Objects.Delete(ctx, prefix+object+kind))
		}
		return errors.Join(errs...)
	})
}

// Objects lists the objects that have volumes, or parts of one, and whose keys
// begin with a prefix.
func (s *Service) Objects(ctx context.Context, with string) ([]string, error) {
	stored, err := s.cfg.Objects.List(ctx, prefix+with)
	if err != nil {
		return nil, fmt.Errorf("artifact: %w", err)
	}
	var objects []string
	for _, o := range stored {
		key := strings.TrimPrefix(o.Key, prefix)
		key = key[:max(0, strings.LastIndexByte(key, '/'))]
		if len(objects) == 0 || objects[len(objects)-1] != key {
			objects = append(objects, key)
		}
	}
	return objects, nil
}
