package testimage

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"hearth/test/harness/testimage/keystream"
)

const (
	// minFile and maxFile bound the sizes of random files.
	minFile, maxFile = 1 << 20, 64 << 20
	// layerSize is about how much is in a layer of random files.
	layerSize = 64 << 20
	// label is where an image says what it was made of.
	label = "hearth.testimage.random"
)

// randomImage is what an image of random data is made of.
type randomImage struct {
	Size    int64 `json:"size"`
	Touched int64 `json:"touched"`
	Version int   `json:"version"`
}

// Incompressible is an image of about size bytes (to the next MiB) of random
// data in files of 1 to 64 MiB below /data, and of a Go function that at its
// start reads and checks touched bytes of them, spread over all. It answers an
// event with how much it has read: {"touched":N}. Data is computed as it is
// read, in layers of some 64 to 128 MiB; the same arguments give the same image.
func Incompressible(ctx context.Context, size, touched int64) (v1.Image, error) {
	if size < minFile || touched < 0 || touched > size {
		return nil, fmt.Errorf("an image of %d random bytes, %d of them read: it must have at least %d, and no more can be read", size, touched, minFile)
	}
	return randomImage{Size: size, Touched: touched, Version: 1}.build(ctx)
}

// NextVersion is an image of Incompressible with one file changed: all layers
// but the one with that file are the same.
func NextVersion(ctx context.Context, img v1.Image) (v1.Image, error) {
	about, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	var r randomImage
	if err := json.Unmarshal([]byte(about.Config.Labels[label]), &r); err != nil {
		return nil, errors.New("next version of an image that is not one of Incompressible")
	}
	r.Version++
	return r.build(ctx)
}

// randomFile is a file of random data; generation says how often it changed.
type randomFile struct {
	path       string
	size       int64
	generation int64
}

// files draws the sizes of files, which do not depend on the version. The
// version n changes the file n-2, around and around.
func (r randomImage) files() []randomFile {
	draw := rand.New(rand.NewPCG(1, uint64(r.Size)))
	var files []randomFile
	for left := r.Size; left > 0; {
		size := min(minFile+draw.Int64N(maxFile-minFile+1)>>20<<20, (left+minFile-1)>>20<<20)
		files = append(files, randomFile{path: fmt.Sprintf("data/%05d", len(files)), size: size})
		left -= size
	}
	for v := 2; v <= r.Version; v++ {
		files[(v-2)%len(files)].generation++
	}
	return files
}

var toucherLayer = programLayer(types.OCILayer, "toucher", "toucher", file{"data/", 0o755, nil})

func (r randomImage) build(ctx context.Context) (v1.Image, error) {
	program, err := toucherLayer()
	if err != nil {
		return nil, err
	}
	layers := []v1.Layer{program}
	var part []randomFile
	var size int64
	files := r.files()
	for i, f := range files {
		part, size = append(part, f), size+f.size
		if size < layerSize && i < len(files)-1 {
			continue
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		layer, err := randomLayer(part)
		if err != nil {
			return nil, err
		}
		layers, part, size = append(layers, layer), nil, 0
	}
	text, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	return assemble(scratch(), config(v1.Config{
		Entrypoint: []string{"/toucher", fmt.Sprint(r.Touched)}, Labels: map[string]string{label: string(text)},
	}), layers...)
}

// randomLayer is packed as gzip that does not try to compress.
func randomLayer(files []randomFile) (v1.Layer, error) {
	return newLayer(func(w *tar.Writer) error {
		for _, f := range files {
			at := epoch.Unix() + f.generation
			header := &tar.Header{
				Typeflag: tar.TypeReg, Name: f.path, Mode: 0o644, Size: f.size,
				ModTime: keystream.Time(at),
			}
			if err := w.WriteHeader(header); err != nil {
				return err
			}
			if _, err := io.CopyN(w, keystream.New("/"+f.path, at, 0), f.size); err != nil {
				return err
			}
		}
		return nil
	}, tarball.WithCompressionLevel(gzip.NoCompression))
}
