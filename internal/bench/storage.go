package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"

	"hearth/internal/chunkstore"
)

// StorageOptions are what a run of Storage may be told.
type StorageOptions struct {
	Options

	// Delay is how long the origin takes to answer.
	Delay time.Duration
	// Concurrent is how many invokes start an image at once.
	Concurrent int
	// Huge has a volume of 10 GB built, too.
	Huge bool
	// Parts are what is measured; all of StorageParts if there are none.
	Parts []string
}

// StorageParts are the parts of Storage.
var StorageParts = []string{"build", "cold", "crowd", "read"}

func (o *StorageOptions) fillStorage() error {
	if o.Concurrent < 1 || o.Delay < 0 {
		return fmt.Errorf("bench: %d concurrent starts and a delay of %v", o.Concurrent, o.Delay)
	}
	if len(o.Parts) == 0 {
		o.Parts = StorageParts
	}
	for _, part := range o.Parts {
		if !slices.Contains(StorageParts, part) {
			return fmt.Errorf("bench: no part is called %q; there are %s", part, strings.Join(StorageParts, ", "))
		}
	}
	return o.fill()
}

// StorageReport is what a run of Storage found.
type StorageReport struct {
	Cores int           `json:"cores"`
	Delay time.Duration `json:"delay"`
	// Small and Large are cold starts of images of 20 MB and of 1 GB.
	Cold  *Colds `json:"cold,omitempty"`
	Crowd *Crowd `json:"crowd,omitempty"`
	Read  *Read  `json:"read,omitempty"`
	// Build is of 1 GB, Huge of 10 GB.
	Build *Built `json:"build,omitempty"`
	Huge  *Built `json:"huge,omitempty"`
}

// The images: both do the same work, which reads 10 MB.
var (
	largePicture = picture{files: 1 << 30 / fileSize, touched: 20}
	smallPicture = picture{files: 20 << 20 / fileSize, touched: 20}
)

// Storage measures volumes. With an error it returns what it found before.
func Storage(ctx context.Context, o StorageOptions) (_ *StorageReport, err error) {
	if err := o.fillStorage(); err != nil {
		return nil, err
	}
	rep := &StorageReport{Cores: runtime.NumCPU(), Delay: o.Delay}
	if slices.Contains(o.Parts, "build") {
		if err := rep.build(ctx, &o); err != nil {
			return rep, err
		}
	}
	if slices.Equal(o.Parts, []string{"build"}) {
		return rep, nil
	}
	b, err := newStorageBed(ctx, &o)
	if err != nil {
		return rep, err
	}
	defer func() { err = errors.Join(err, b.close()) }()
	for _, part := range o.Parts {
		switch part {
		case "cold":
			rep.Cold, err = b.coldStarts(ctx)
		case "crowd":
			rep.Crowd, err = b.crowd(ctx)
		case "read":
			rep.Read, err = b.read(ctx)
		}
		if err != nil {
			return rep, err
		}
	}
	return rep, nil
}

func (rep *StorageReport) build(ctx context.Context, o *StorageOptions) (err error) {
	o.say("flatten, cut and encrypt 1 GB")
	if rep.Build, err = buildApart(ctx, 1<<10); err != nil || !o.Huge {
		return err
	}
	o.say("flatten, cut and encrypt 10 GB")
	rep.Huge, err = buildApart(ctx, 10<<10-64) // the limit is of all contents
	return err
}

// buildApart has a process of its own build volumes.
func buildApart(ctx context.Context, mb int) (*Built, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	var stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, self, "bench", "storage", "--build", fmt.Sprint(mb))
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("bench: %w: %s", err, stderr.String())
	}
	b := new(Built)
	return b, json.Unmarshal(out, b)
}

// storageBed is a Hearth that is restarted, as nothing is cached then, with
// functions of images.
type storageBed struct {
	*hearth
	o       *StorageOptions
	origin  string // log of the origin's reads
	running bool
}

func newStorageBed(ctx context.Context, o *StorageOptions) (_ *storageBed, err error) {
	o.say("push images of 20 MB and 1 GB")
	h, err := startHearth(ctx, &o.Options, "--pool", "0")
	if err != nil {
		return nil, err
	}
	b := &storageBed{hearth: h, o: o, origin: filepath.Join(h.data, "origin.log"), running: true}
	defer func() {
		if err != nil {
			err = errors.Join(err, b.close())
		}
	}()
	for name, p := range map[string]picture{"small": smallPicture, "large": largePicture} {
		p.program = o.Function
		uri, err := b.push(ctx, name, p)
		if err != nil {
			return nil, err
		}
		if err := b.createImage(ctx, name, uri); err != nil {
			return nil, err
		}
	}
	return b, nil
}

// storageMemoryMB is what functions of images have: it is no more than what
// many of them at once can be promised.
const storageMemoryMB = 512

func (h *hearth) createImage(ctx context.Context, name, uri string) error {
	arch := types.ArchitectureX8664
	if runtime.GOARCH == "arm64" {
		arch = types.ArchitectureArm64
	}
	_, err := h.client.CreateFunction(ctx, &lambda.CreateFunctionInput{
		FunctionName: &name, PackageType: types.PackageTypeImage, MemorySize: aws.Int32(storageMemoryMB), Timeout: aws.Int32(900),
		Architectures: []types.Architecture{arch}, Role: aws.String("arn:aws:iam::000000000000:role/hearth-function"),
		Code: &types.FunctionCode{ImageUri: &uri},
	})
	if err != nil {
		return err
	}
	return lambda.NewFunctionActiveV2Waiter(h.client, fastActive).Wait(ctx, &lambda.GetFunctionInput{FunctionName: &name}, 15*time.Minute)
}

// restart ends all processes and mounts of the Hearth, and starts it again
// where it was; the origin then answers late.
func (b *storageBed) restart(ctx context.Context, delay time.Duration) error {
	at := strings.TrimPrefix(b.ready, "http://")
	if b.running {
		b.stop()
	}
	b.running = false
	if err := os.WriteFile(b.origin, nil, 0o600); err != nil {
		return err
	}
	env := []string{delayEnv + "=" + delay.String(), logEnv + "=" + b.origin}
	if err := b.start(ctx, env, "--listen", at, "--runtime-cache", b.o.RuntimeCache, "--pool", "0"); err != nil {
		return err
	}
	b.running = true
	return nil
}

func (b *storageBed) close() error {
	if b.running {
		b.stop()
	}
	return os.RemoveAll(b.data)
}

// profiles are the files that say what starts read.
func (b *storageBed) profiles() ([]string, error) {
	dir := filepath.Join(b.data, "objects")
	var found []string
	err := filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		if filepath.Base(path) == "profile" {
			found = append(found, path)
		}
		return err
	})
	return found, err
}

// forget removes what is known of starts.
func (b *storageBed) forget() error {
	found, err := b.profiles()
	for _, path := range found {
		err = errors.Join(err, os.Remove(path))
	}
	return err
}

// recorded waits until something is known of a start.
func (b *storageBed) recorded(ctx context.Context) error {
	for {
		found, err := b.profiles()
		if err != nil || len(found) > 0 {
			return err
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// fetched is what the origin was asked for since the restart. Its own log and
// what blockfs counts must agree.
func (b *storageBed) fetched(ctx context.Context) (Fetched, error) {
	var s chunkstore.Stats
	if err := b.counters(ctx, &s); err != nil {
		return Fetched{}, err
	}
	f, err := readOriginLog(b.origin)
	if err == nil && (s.Origin.Bytes != f.Bytes || s.Origin.Hits != int64(f.Reads)) {
		err = fmt.Errorf("bench: blockfs counts %d reads of %d bytes in all, the origin's log has %d of %d",
			s.Origin.Hits, s.Origin.Bytes, f.Reads, f.Bytes)
	}
	return f, err
}

func (b *storageBed) counters(ctx context.Context, into *chunkstore.Stats) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	out, err := exec.CommandContext(ctx, self, "chunks", "--data", b.data, "-o", "json").Output()
	if err != nil {
		return fmt.Errorf("bench: hearth chunks: %w", err)
	}
	return json.Unmarshal(out, into)
}
