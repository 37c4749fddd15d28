package ociimage

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"hearth/internal/ociname"
)

// A source holds manifests and blobs. Nothing of what it returns has been
// checked.
type source interface {
	// manifest returns what a tag or digest names, at most maxManifest bytes.
	manifest(ctx context.Context, reference string) (data []byte, mediaType string, err error)
	// blob opens what a descriptor describes, from an offset on.
	blob(ctx context.Context, d descriptor, offset int64) (io.ReadCloser, error)
}

// descriptor names a blob.
type descriptor struct {
	digest string
	size   int64
}

// finder goes from a reference to an image.
type finder struct {
	source source
	limits Limits
	arch   string
	pause  func(context.Context, int) error
}

// maxDepth is how many indexes may lead to each other.
const maxDepth = 3

func (f *finder) find(ctx context.Context, repository, reference string) (*Image, error) {
	var listed *v1.Platform
	for range maxDepth {
		data, kind, err := f.manifest(ctx, reference)
		if err != nil {
			return nil, err
		}
		switch {
		case kind.IsIndex():
			d, err := f.choose(data)
			if err != nil {
				return nil, err
			}
			reference, listed = d.Digest.String(), d.Platform
		case kind.IsImage():
			img, err := f.image(ctx, data, kind, listed)
			if err != nil {
				return nil, err
			}
			img.Digest = ociname.Digest(data)
			img.Reference = repository + "@" + img.Digest
			return img, nil
		case kind.IsSchema1():
			return nil, fmt.Errorf("%w: its manifest is of Docker's old version 1; push it again with a tool of this decade", ErrInvalid)
		default:
			return nil, fmt.Errorf("%w: its manifest is of the type %q; Lambda runs Docker's images of version 2 and OCI's",
				ErrInvalid, printable(string(kind)))
		}
	}
	return nil, fmt.Errorf("%w: its indexes lead to each other, more than %d deep", ErrInvalid, maxDepth)
}

// manifest reads a manifest and checks it against the digest that it is
// asked for by. A tag is the registry's word.
func (f *finder) manifest(ctx context.Context, reference string) ([]byte, types.MediaType, error) {
	data, declared, err := f.source.manifest(ctx, reference)
	if err != nil {
		return nil, "", err
	}
	if ociname.IsDigest(reference) && ociname.Digest(data) != reference {
		return nil, "", fmt.Errorf("%w: its manifest has another digest than %s: the registry is damaged, or lies", ErrInvalid, reference)
	}
	kind, err := kindOf(data, declared)
	return data, kind, err
}

// kindOf tells the type of a manifest: what it says itself counts more than
// what the registry says about it.
func kindOf(data []byte, declared string) (types.MediaType, error) {
	var head struct {
		SchemaVersion int             `json:"schemaVersion"`
		MediaType     types.MediaType `json:"mediaType"`
		Manifests     json.RawMessage `json:"manifests"`
		Layers        json.RawMessage `json:"layers"`
	}
	if err := json.Unmarshal(data, &head); err != nil {
		return "", fmt.Errorf("%w: its manifest is not JSON", ErrInvalid)
	}
	// Who reads a manifest as one thing must not meet who reads it as another.
	if head.Manifests != nil && head.Layers != nil {
		return "", fmt.Errorf("%w: its manifest is both an image's and an index", ErrInvalid)
	}
	declared, _, _ = strings.Cut(declared, ";")
	switch kind := types.MediaType(strings.TrimSpace(declared)); {
	case head.MediaType != "":
		return head.MediaType, nil
	case head.SchemaVersion == 1:
		return types.DockerManifestSchema1, nil
	case kind.IsIndex(), kind.IsImage():
		return kind, nil
	case head.Manifests != nil:
		return types.OCIImageIndex, nil
	default:
		return types.OCIManifestSchema1, nil
	}
}

// choose finds the image for the platform in an index.
func (f *finder) choose(data []byte) (*v1.Descriptor, error) {
	var index v1.IndexManifest
	if err := json.Unmarshal(data, &index); err != nil {
		return nil, fmt.Errorf("%w: its index cannot be read", ErrInvalid)
	}
	var has []string
	var images []*v1.Descriptor
	for i := range index.Manifests {
		d := &index.Manifests[i]
		if p := d.Platform; p != nil {
			if p.OS == "linux" && p.Architecture == f.arch && usualVariant(p) {
				return d, checkDescriptor(d)
			}
			if p.OS != "unknown" { // attestations
				has = append(has, p.OS+"/"+p.Architecture)
				images = append(images, d)
			}
			continue
		}
		images = append(images, d)
	}
	// The one image of a layout says what it is for by its configuration.
	if len(images) == 1 && images[0].Platform == nil {
		return images[0], checkDescriptor(images[0])
	}
	slices.Sort(has)
	return nil, fmt.Errorf("%w: it has no image for linux/%s (it has: %s); build it for that platform, or choose another architecture",
		ErrInvalid, f.arch, printable(strings.Join(slices.Compact(has), ", ")))
}

// usualVariant says whether every machine of an architecture runs a variant.
func usualVariant(p *v1.Platform) bool {
	return p.Variant == "" || p.Architecture == "arm64" && p.Variant == "v8" || p.Architecture == "amd64" && p.Variant == "v1"
}

func checkDescriptor(d *v1.Descriptor) error {
	if !ociname.IsDigest(d.Digest.String()) {
		return fmt.Errorf("%w: it names something by %q; only sha256 digests are understood", ErrInvalid, printable(d.Digest.String()))
	}
	if d.Size < 0 {
		return fmt.Errorf("%w: a size in it is negative", ErrInvalid)
	}
	return nil
}

// image reads an image's manifest and its configuration.
func (f *finder) image(ctx context.Context, data []byte, kind types.MediaType, listed *v1.Platform) (*Image, error) {
	var m v1.Manifest
	if err := json.Unmarshal(data, &m); err != nil {
		return nil, fmt.Errorf("%w: its manifest cannot be read", ErrInvalid)
	}
	layers, size, err := f.layers(&m)
	if err != nil {
		return nil, err
	}
	raw, err := f.config(ctx, &m.Config)
	if err != nil {
		return nil, err
	}
	var c v1.ConfigFile
	if err := json.Unmarshal(raw, &c); err != nil {
		return nil, fmt.Errorf("%w: its configuration cannot be read", ErrInvalid)
	}
	if len(c.RootFS.DiffIDs) != len(layers) {
		return nil, fmt.Errorf("%w: its manifest has %d layers and its configuration %d", ErrInvalid, len(layers), len(c.RootFS.DiffIDs))
	}
	for i, id := range c.RootFS.DiffIDs {
		layers[i].DiffID = id.String()
	}
	if err := f.checkPlatform(&c, listed); err != nil {
		return nil, err
	}
	return &Image{
		Manifest: data, MediaType: string(kind), ConfigFile: raw,
		Config: Config{
			Entrypoint: c.Config.Entrypoint, Cmd: c.Config.Cmd, Env: c.Config.Env,
			WorkingDir: c.Config.WorkingDir, User: c.Config.User,
		},
		Architecture: f.arch, OS: "linux", Layers: layers, Size: size,
	}, nil
}

// checkPlatform compares what an image is for with what is wanted. Some tools
// leave it out; then an index's word counts, or the caller's.
func (f *finder) checkPlatform(c *v1.ConfigFile, listed *v1.Platform) error {
	if listed != nil && c.OS == "" && c.Architecture == "" {
		return nil
	}
	if c.OS != "" && c.OS != "linux" || c.Architecture != "" && c.Architecture != f.arch {
		return fmt.Errorf("%w: it is for %s, and linux/%s is wanted; build it for that platform, or choose another architecture",
			ErrInvalid, printable(c.OS+"/"+c.Architecture), f.arch)
	}
	return nil
}

func (f *finder) layers(m *v1.Manifest) ([]Layer, int64, error) {
	if len(m.Layers) > f.limits.Layers {
		return nil, 0, fmt.Errorf("%w: it has %d layers, and %d are allowed; squash it", ErrTooLarge, len(m.Layers), f.limits.Layers)
	}
	var total int64
	layers := make([]Layer, len(m.Layers))
	for i := range m.Layers {
		d := &m.Layers[i]
		if err := checkDescriptor(d); err != nil {
			return nil, 0, err
		}
		if !layerTypes[d.MediaType] {
			return nil, 0, fmt.Errorf("%w: layer %d is of the type %q; want a tar, plain or packed by gzip or zstd, in the registry itself",
				ErrInvalid, i+1, printable(string(d.MediaType)))
		}
		if d.Size > f.limits.Bytes-total {
			return nil, 0, fmt.Errorf("%w: its layers have more than %d bytes; make it smaller", ErrTooLarge, f.limits.Bytes)
		}
		total += d.Size
		layers[i] = f.layer(descriptor{d.Digest.String(), d.Size})
	}
	return layers, total, nil
}

func (f *finder) layer(d descriptor) Layer {
	return Layer{Digest: d.digest, Size: d.size, open: func(ctx context.Context) (io.ReadCloser, error) {
		r := newVerified(ctx, f, d)
		// What cannot be opened at all is better said now than at the first read.
		if err := r.start(); err != nil {
			return nil, err
		}
		return r, nil
	}}
}

// layerTypes are those of layers that are in the registry. Layers that are to
// be fetched from URLs of their own are Windows's.
var layerTypes = map[types.MediaType]bool{
	types.DockerLayer: true, types.DockerUncompressedLayer: true,
	"application/vnd.docker.image.rootfs.diff.tar.zstd": true,
	types.OCILayer: true, types.OCILayerZStd: true, types.OCIUncompressedLayer: true,
}

// configTypes are those of images, and not of what else is in registries.
var configTypes = map[types.MediaType]bool{types.DockerConfigJSON: true, types.OCIConfigJSON: true}

func (f *finder) config(ctx context.Context, d *v1.Descriptor) ([]byte, error) {
	if err := checkDescriptor(d); err != nil {
		return nil, err
	}
	if !configTypes[d.MediaType] {
		return nil, fmt.Errorf("%w: its configuration is of the type %q: it is not a container image", ErrInvalid, printable(string(d.MediaType)))
	}
	if d.Size > maxConfig {
		return nil, fmt.Errorf("%w: its configuration has %d bytes, more than %d", ErrTooLarge, d.Size, maxConfig)
	}
	r := newVerified(ctx, f, descriptor{d.Digest.String(), d.Size})
	var b bytes.Buffer
	_, err := io.Copy(&b, r)
	return b.Bytes(), errors.Join(err, r.Close())
}
