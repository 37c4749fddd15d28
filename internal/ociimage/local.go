package ociimage

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"hearth/internal/ociname"
)

// LocalRequest names an image in a file or directory.
type LocalRequest struct {
	// Path is an OCI layout (a directory, or a tar of one) or an archive that
	// `docker save` made.
	Path string
	// Name tells images of one path from each other: NAME:TAG, or a tag alone.
	Name string
	// Architecture and Limits are as a Resolver has them.
	Architecture string
	Limits       Limits
}

// Local is an image in a file or directory. Its layers can be opened until it
// is closed.
type Local struct {
	*Image
	files files
}

// Close ends the use of what the image is in.
func (l *Local) Close() error { return l.files.Close() }

// files is a directory or an archive of one. What is not there is
// fs.ErrNotExist.
type files interface {
	open(name string) (io.ReadSeekCloser, int64, error)
	io.Closer
}

// Files that tell what a directory is.
const (
	layoutIndex   = "index.json"
	layoutVersion = "oci-layout"
	savedIndex    = "manifest.json"
)

// OpenLocal finds an image on this machine. Its Reference is its digest.
func OpenLocal(ctx context.Context, q LocalRequest) (_ *Local, err error) {
	arch, err := architecture(q.Architecture)
	if err != nil {
		return nil, err
	}
	q.Limits.fill()
	in, err := openFiles(q.Path)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, in.Close())
		}
	}()
	s, reference, err := openLocal(ctx, in, q)
	if err != nil {
		return nil, err
	}
	f := finder{source: s, limits: q.Limits, arch: arch, pause: backOff}
	img, err := f.find(ctx, "", reference)
	if err != nil {
		return nil, err
	}
	img.Reference = img.Digest
	return &Local{img, in}, nil
}

// openFiles opens a directory or an archive.
func openFiles(name string) (files, error) {
	info, err := os.Stat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: there is no %s", ErrNotFound, name)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	if !info.IsDir() {
		return openArchive(name)
	}
	root, err := os.OpenRoot(name)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return directory{root}, nil
}

// directory is a directory; its links lead to nothing outside of it.
type directory struct{ root *os.Root }

func (d directory) open(name string) (io.ReadSeekCloser, int64, error) {
	info, err := d.root.Stat(name)
	if err != nil {
		return nil, 0, err
	}
	if !info.Mode().IsRegular() {
		return nil, 0, fmt.Errorf("%s is not a file: %w", name, fs.ErrNotExist)
	}
	f, err := d.root.Open(name)
	if err != nil {
		return nil, 0, err
	}
	return f, info.Size(), nil
}

func (d directory) Close() error { return d.root.Close() }

// openLocal finds out what is in a directory, and which image is meant.
func openLocal(ctx context.Context, in files, q LocalRequest) (source, string, error) {
	if _, err := readWhole(in, layoutVersion, maxConfig); err == nil {
		index, err := readWhole(in, layoutIndex, maxManifest)
		if err != nil {
			return nil, "", err
		}
		s := &layoutSource{in, index}
		reference, err := s.start(q.Name)
		return s, reference, err
	}
	list, err := readWhole(in, savedIndex, maxManifest)
	if errors.Is(err, ErrNotFound) {
		return nil, "", fmt.Errorf("%w: %s has neither %s nor %s: it is no OCI layout and no archive of docker save",
			ErrInvalid, q.Path, layoutVersion, savedIndex)
	}
	if err != nil {
		return nil, "", err
	}
	return openSaved(ctx, in, list, q)
}

// readWhole reads a small file.
func readWhole(in files, name string, limit int64) (_ []byte, err error) {
	f, size, err := in.open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: it has no file %s; make it again", ErrNotFound, name)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if size > limit {
		return nil, fmt.Errorf("%w: its %s has %d bytes, more than %d", ErrTooLarge, name, size, limit)
	}
	return io.ReadAll(io.LimitReader(f, limit))
}

// layoutSource is an OCI image layout.
type layoutSource struct {
	files
	index []byte
}

// wholeIndex stands for the layout's own index.
const wholeIndex = ""

// start finds the image that a name means.
func (s *layoutSource) start(name string) (string, error) {
	var index v1.IndexManifest
	if err := json.Unmarshal(s.index, &index); err != nil {
		return "", fmt.Errorf("%w: its %s cannot be read", ErrInvalid, layoutIndex)
	}
	if name == "" {
		if len(index.Manifests) == 1 {
			return index.Manifests[0].Digest.String(), checkDescriptor(&index.Manifests[0])
		}
		return wholeIndex, nil
	}
	var names []string
	for i := range index.Manifests {
		d := &index.Manifests[i]
		for _, key := range []string{"org.opencontainers.image.ref.name", "io.containerd.image.name"} {
			if n := d.Annotations[key]; called(n, name) {
				return d.Digest.String(), checkDescriptor(d)
			} else if n != "" {
				names = append(names, n)
			}
		}
	}
	return "", noSuchName(name, names)
}

// called says whether an image with a whole name, or a tag, is one that a user
// may call by another: the name's end, or its tag.
func called(whole, name string) bool {
	if whole == name || strings.HasSuffix(whole, "/"+name) {
		return true
	}
	last := whole[strings.LastIndexByte(whole, '/')+1:]
	_, tag, ok := strings.Cut(last, ":")
	return ok && tag == name
}

func noSuchName(name string, names []string) error {
	slices.Sort(names)
	if name == "" {
		return fmt.Errorf("%w: it holds several images; say which: %s", ErrInvalid, printable(strings.Join(slices.Compact(names), ", ")))
	}
	return fmt.Errorf("%w: nothing in it has the name %q; it has: %s", ErrNotFound, printable(name), printable(strings.Join(slices.Compact(names), ", ")))
}

func blobFile(digest string) string { return "blobs/" + strings.Replace(digest, ":", "/", 1) }

func (s *layoutSource) manifest(_ context.Context, reference string) ([]byte, string, error) {
	if reference == wholeIndex {
		return s.index, string(types.OCIImageIndex), nil
	}
	data, err := readWhole(s.files, blobFile(reference), maxManifest)
	return data, "", err
}

func (s *layoutSource) blob(_ context.Context, d descriptor, offset int64) (io.ReadCloser, error) {
	return openFrom(s.files, blobFile(d.digest), d, offset)
}

func openFrom(in files, name string, d descriptor, offset int64) (io.ReadCloser, error) {
	f, size, err := in.open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: it has no %s; make it again", ErrNotFound, d.digest)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return from(f, d, size, offset)
}

// saved is an entry of the index of docker save.
type saved struct {
	Config   string   `json:"Config"`
	RepoTags []string `json:"RepoTags"`
	Layers   []string `json:"Layers"`
}

// savedSource is an image in an archive of docker save, described as an OCI
// image is: the archive has no manifest of its own.
type savedSource struct {
	files
	made  []byte
	names map[string]string // of files, by digest
}

func openSaved(ctx context.Context, in files, list []byte, q LocalRequest) (source, string, error) {
	var images []saved
	if err := json.Unmarshal(list, &images); err != nil {
		return nil, "", fmt.Errorf("%w: its %s cannot be read", ErrInvalid, savedIndex)
	}
	image, err := pick(images, q.Name)
	if err != nil {
		return nil, "", err
	}
	if len(image.Layers) > q.Limits.Layers {
		return nil, "", fmt.Errorf("%w: it has %d layers, and %d are allowed; squash it", ErrTooLarge, len(image.Layers), q.Limits.Layers)
	}
	raw, err := readWhole(in, image.Config, maxConfig)
	if err != nil {
		return nil, "", err
	}
	var config v1.ConfigFile
	if err := json.Unmarshal(raw, &config); err != nil || len(config.RootFS.DiffIDs) != len(image.Layers) {
		return nil, "", fmt.Errorf("%w: its configuration cannot be read, or has not as many layers as %s", ErrInvalid, savedIndex)
	}
	s := &savedSource{files: in, names: map[string]string{}}
	m := v1.Manifest{SchemaVersion: 2, MediaType: types.OCIManifestSchema1}
	if m.Config, err = s.describe(ctx, image.Config, types.OCIConfigJSON); err != nil {
		return nil, "", err
	}
	for i, name := range image.Layers {
		d, err := s.describe(ctx, name, "")
		if err != nil {
			return nil, "", err
		}
		if d.MediaType == types.OCIUncompressedLayer && d.Digest != config.RootFS.DiffIDs[i] {
			return nil, "", fmt.Errorf("%w: %s has another digest than its configuration says; save the image again", ErrInvalid, printable(name))
		}
		m.Layers = append(m.Layers, d)
	}
	if s.made, err = json.Marshal(m); err != nil {
		return nil, "", err
	}
	return s, ociname.Digest(s.made), nil
}

func pick(images []saved, name string) (*saved, error) {
	if name == "" && len(images) == 1 {
		return &images[0], nil
	}
	var names []string
	for i := range images {
		names = append(names, images[i].RepoTags...)
		for _, tag := range images[i].RepoTags {
			if name != "" && called(tag, name) {
				return &images[i], nil
			}
		}
	}
	return nil, noSuchName(name, names)
}

// describe reads a file whole to learn its digest, and what it is if kind is
// empty.
func (s *savedSource) describe(ctx context.Context, name string, kind types.MediaType) (_ v1.Descriptor, err error) {
	f, size, err := s.open(name)
	if err != nil {
		return v1.Descriptor{}, fmt.Errorf("%w: it has no file %s; save the image again", ErrInvalid, printable(name))
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	var head bytes.Buffer
	if kind == "" {
		if _, err := io.CopyN(&head, f, 4); err != nil && !errors.Is(err, io.EOF) {
			return v1.Descriptor{}, err
		}
		kind = packing(head.Bytes())
	}
	digest, _, err := v1.SHA256(io.MultiReader(&head, cancelled{ctx, f}))
	s.names[digest.String()] = name
	return v1.Descriptor{MediaType: kind, Digest: digest, Size: size}, err
}

// packing tells how a layer is packed.
func packing(head []byte) types.MediaType {
	switch {
	case bytes.HasPrefix(head, []byte{0x1f, 0x8b}):
		return types.OCILayer
	case bytes.HasPrefix(head, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		return types.OCILayerZStd
	default:
		return types.OCIUncompressedLayer
	}
}

func (s *savedSource) manifest(context.Context, string) ([]byte, string, error) {
	return s.made, string(types.OCIManifestSchema1), nil
}

func (s *savedSource) blob(_ context.Context, d descriptor, offset int64) (io.ReadCloser, error) {
	return openFrom(s.files, s.names[d.digest], d, offset)
}

// cancelled ends reading with its context.
type cancelled struct {
	ctx context.Context //nolint:containedctx // lives for one copy
	r   io.Reader
}

func (c cancelled) Read(p []byte) (int, error) {
	if c.ctx.Err() != nil {
		return 0, context.Cause(c.ctx)
	}
	return c.r.Read(p)
}
