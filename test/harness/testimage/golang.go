package testimage

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// compile returns a static binary of a command below this package. The go
// command's own cache makes it cheap.
func compile(ctx context.Context, command string) ([]byte, error) {
	tmp, err := os.MkdirTemp("", "hearth-testimage-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(tmp)
	out := filepath.Join(tmp, command)
	err = run(ctx, "", []string{"CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64"}, "go", "build", "-trimpath", "-buildvcs=false",
		"-ldflags=-s -w", "-o", out, "hearth/test/harness/testimage/"+command)
	if err != nil {
		return nil, fmt.Errorf("compile %s: %w", command, err)
	}
	return os.ReadFile(out)
}

// programLayer returns a function that makes, once, a layer of a command and
// other files.
func programLayer(media types.MediaType, command, name string, more ...file) func() (v1.Layer, error) {
	return sync.OnceValues(func() (v1.Layer, error) {
		binary, err := compile(context.Background(), command)
		if err != nil {
			return nil, err
		}
		return filesLayer(media, append([]file{{name, 0o755, binary}}, more...)...)
	})
}

var (
	goLayer         = programLayer(types.DockerLayer, "handler", "handler")
	goOnDebianLayer = programLayer(types.OCILayer, "handler", "usr/local/bin/handler")
)

// Go is an image of a Go function and nothing else, in Docker's format.
func Go(t testing.TB) v1.Image {
	t.Helper()
	layer, err := goLayer()
	if err != nil {
		t.Fatal(err)
	}
	img, err := assemble(empty.Image, config(v1.Config{Entrypoint: []string{"/handler"}}), layer)
	if err != nil {
		t.Fatal(err)
	}
	return img
}

// GoOnDebian is an image of a Go function in a Debian: four layers.
func GoOnDebian(t testing.TB) v1.Image {
	t.Helper()
	base, err := debianImage()
	if err != nil {
		t.Fatal(err)
	}
	var layers []v1.Layer
	for _, files := range [][]file{
		{
			{"etc/testimage/", 0o755, nil}, {RemovedFile[1:], 0o644, []byte("old")}, {ChangedFile[1:], 0o644, []byte("old")},
			{"usr/local/share/hidden/", 0o755, nil}, {HiddenFile[1:], 0o644, []byte("old")},
		},
		{
			{"etc/testimage/.wh." + filepath.Base(RemovedFile), 0o644, nil}, {ChangedFile[1:], 0o644, []byte(ChangedText)},
			{"usr/local/share/hidden/.wh..wh..opq", 0o644, nil},
		},
	} {
		layer, err := filesLayer(types.OCILayer, files...)
		if err != nil {
			t.Fatal(err)
		}
		layers = append(layers, layer)
	}
	program, err := goOnDebianLayer()
	if err != nil {
		t.Fatal(err)
	}
	img, err := assemble(base, config(v1.Config{
		Entrypoint: []string{"handler"}, Cmd: []string{"from-cmd"}, WorkingDir: "/var/task", Env: []string{"LAMBDA_TASK_ROOT=/var/task"},
	}), append(layers, program)...)
	if err != nil {
		t.Fatal(err)
	}
	return img
}
