package bench

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"runtime"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// fileSize is the length of each file of an image, but of its program.
const fileSize = 512 << 10

// picture describes a container image of random bytes, as which nothing in it
// can be packed. The same picture is always the same image.
type picture struct {
	// program is the path of the Go program that it runs, if any.
	program string
	// files is how many files of fileSize it has besides, of which the program
	// reads touched ones, evenly spread.
	files, touched int
	// changed is a file that has other and more bytes than in the picture
	// without; none if 0.
	changed int
}

func (p picture) path(file int) string { return fmt.Sprintf("data/%02d/%04d", file%16, file) }

// isTouched says whether the program reads a file. What it reads has the same
// bytes in every picture.
func (p picture) isTouched(file int) bool {
	return p.touched > 0 && file%(p.files/p.touched) == 0 && file/(p.files/p.touched) < p.touched
}

// seed is what a file's bytes come from.
func (p picture) seed(file int) (seed [32]byte) {
	switch {
	case p.isTouched(file):
		binary.BigEndian.PutUint64(seed[:], uint64(file/(p.files/p.touched))) //nolint:gosec // not negative
	case file == p.changed && file > 0:
		seed[16] = 1
	default:
		binary.BigEndian.PutUint64(seed[8:], uint64(file)+1) //nolint:gosec // not negative
	}
	return seed
}

// writeTar writes the layer that the image consists of.
func (p picture) writeTar(w io.Writer) error {
	t := tar.NewWriter(w)
	var touch strings.Builder
	for i := range p.files {
		if p.isTouched(i) {
			touch.WriteString("/" + p.path(i) + "\n")
		}
	}
	if err := writeFile(t, "touch", 0o644, int64(touch.Len()), strings.NewReader(touch.String())); err != nil {
		return err
	}
	if p.program != "" {
		if err := p.writeProgram(t); err != nil {
			return err
		}
	}
	for i := range p.files {
		size := int64(fileSize)
		if i == p.changed && i > 0 {
			size += 12345
		}
		random := io.LimitReader(rand.NewChaCha8(p.seed(i)), size)
		if err := writeFile(t, p.path(i), 0o644, size, random); err != nil {
			return err
		}
	}
	return t.Close()
}

func (p picture) writeProgram(t *tar.Writer) (err error) {
	f, err := os.Open(p.program)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	return writeFile(t, "function", 0o755, info.Size(), f)
}

func writeFile(t *tar.Writer, name string, mode, size int64, content io.Reader) error {
	if err := t.WriteHeader(&tar.Header{Name: name, Mode: mode, Size: size, Typeflag: tar.TypeReg, Format: tar.FormatPAX}); err != nil {
		return err
	}
	_, err := io.Copy(t, content)
	return err
}

// open returns the layer's tar, made as it is read.
func (p picture) open() (io.ReadCloser, error) {
	r, w := io.Pipe()
	go func() { w.CloseWithError(p.writeTar(w)) }() // ends at the latest when r is closed
	return r, nil
}

// pictureLayer is a layer that is not packed and kept nowhere.
type pictureLayer struct {
	picture
	digest v1.Hash
	size   int64
}

func (p picture) layer() (*pictureLayer, error) {
	sum := sha256.New()
	n := &counter{w: sum}
	if err := p.writeTar(n); err != nil {
		return nil, err
	}
	return &pictureLayer{p, v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(sum.Sum(nil))}, n.n}, nil
}

type counter struct {
	w io.Writer
	n int64
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}

// Digest implements v1.Layer, as the following methods do.
func (l *pictureLayer) Digest() (v1.Hash, error) { return l.digest, nil }

// DiffID is the digest, since nothing is packed.
func (l *pictureLayer) DiffID() (v1.Hash, error) { return l.digest, nil }

// Compressed is the tar.
func (l *pictureLayer) Compressed() (io.ReadCloser, error) { return l.open() }

// Uncompressed is the tar.
func (l *pictureLayer) Uncompressed() (io.ReadCloser, error) { return l.open() }

// Size is that of the tar.
func (l *pictureLayer) Size() (int64, error) { return l.size, nil }

// MediaType says that nothing is packed.
func (l *pictureLayer) MediaType() (types.MediaType, error) { return types.OCIUncompressedLayer, nil }

// push sends an image to the bench's Hearth and returns its URI.
func (h *hearth) push(ctx context.Context, repository string, p picture) (string, error) {
	layer, err := p.layer()
	if err != nil {
		return "", err
	}
	image, err := mutate.AppendLayers(mutate.MediaType(empty.Image, types.OCIManifestSchema1), layer)
	if err != nil {
		return "", err
	}
	config, err := image.ConfigFile()
	if err != nil {
		return "", err
	}
	config = config.DeepCopy()
	config.OS, config.Architecture, config.Config.Entrypoint = "linux", runtime.GOARCH, []string{"/function"}
	if image, err = mutate.ConfigFile(image, config); err != nil {
		return "", err
	}
	uri := strings.TrimPrefix(h.ready, "http://") + "/" + repository + ":latest"
	ref, err := name.NewTag(uri)
	if err != nil {
		return "", err
	}
	login := authn.FromConfig(authn.AuthConfig{Username: h.root.AccessKeyID, Password: h.root.SecretAccessKey})
	return uri, remote.Write(ref, image, remote.WithContext(ctx), remote.WithAuth(login))
}
