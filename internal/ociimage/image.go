package ociimage

import (
	"context"
	"io"
	"time"
)

// Image is an image for one platform.
type Image struct {
	// Reference names the image by digest: HOST/NAME@sha256:…
	Reference string
	// Digest is that of its manifest, which an index may have led to.
	Digest string
	// Manifest and ConfigFile are the bytes as they are in the registry.
	Manifest, ConfigFile []byte
	// MediaType is the manifest's.
	MediaType        string
	Config           Config
	Architecture, OS string // as amd64 and linux
	// Layers are in order, the lowest first.
	Layers []Layer
	// Size is the sum of the layers' sizes in bytes, packed as they are.
	Size int64
}

// Config is what an image says about the process that it is made for.
type Config struct {
	Entrypoint, Cmd []string
	Env             []string // NAME=VALUE
	WorkingDir      string
	User            string
}

// Layer is a layer of an image.
type Layer struct {
	Digest string // of its bytes as they are stored
	DiffID string // of the tar in them
	Size   int64

	open func(ctx context.Context) (io.ReadCloser, error)
}

// Open returns the layer's bytes as they are stored: a tar, plain or packed.
// They end in io.EOF only if they have the layer's size and digest. The context
// must live as long as they are read. A layer may be opened more than once.
func (l Layer) Open(ctx context.Context) (io.ReadCloser, error) { return l.open(ctx) }

// Limits bound an image.
type Limits struct {
	Layers int   // 127 if zero
	Bytes  int64 // of all layers as they are stored; 10 GiB if zero
}

// Sizes of what is read whole.
const (
	maxManifest = 4 << 20
	maxConfig   = 1 << 20
)

// maxLayers is how many layers Docker's storage drivers take.
const maxLayers = 127

// maxBytes is AWS's limit of an image, which it has for the unpacked one.
const maxBytes = 10 << 30

func (l *Limits) fill() {
	if l.Layers == 0 {
		l.Layers = maxLayers
	}
	if l.Bytes == 0 {
		l.Bytes = maxBytes
	}
}

// defaultStall is how long a registry may send nothing.
const defaultStall = 30 * time.Second
