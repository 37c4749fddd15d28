package bench

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"hearth/internal/controlstream"
	"hearth/internal/managedruntime"
	"hearth/internal/mount"
	"hearth/internal/sandbox"
	"hearth/internal/sandbox/gvisor"
)

// rig is a sandbox driver of the bench's own, without a Hearth around it.
type rig struct {
	o      *Options
	dir    string
	driver *gvisor.Driver
	roots  map[string]string
}

func newRig(o *Options) (_ *rig, err error) {
	dir, err := os.MkdirTemp("", "hearth-")
	if err != nil {
		return nil, err
	}
	r := &rig{o: o, dir: dir, roots: map[string]string{}}
	r.driver, err = gvisor.New(gvisor.Config{
		Runsc: o.Runsc, Init: o.Init, Dir: filepath.Join(dir, "sandboxes"), Instance: "bench", Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		_ = os.RemoveAll(dir)
		return nil, err
	}
	return r, r.driver.Sweep(context.Background())
}

func (r *rig) close() error {
	err := errors.Join(r.driver.Sweep(context.Background()), mount.UnmountBelow(r.dir))
	if err != nil {
		return err
	}
	return os.RemoveAll(r.dir)
}

// root mounts a runtime's image.
func (r *rig) root(ctx context.Context, runtime string) (string, error) {
	if root := r.roots[runtime]; root != "" {
		return root, nil
	}
	store, err := managedruntime.Open(r.o.RuntimeCache, slog.New(slog.DiscardHandler))
	if err != nil {
		return "", err
	}
	img, err := store.Ensure(ctx, runtime, r.o.say)
	if err != nil {
		return "", err
	}
	root := filepath.Join(r.dir, runtime)
	if err := os.MkdirAll(root, 0o700); err != nil {
		return "", err
	}
	r.roots[runtime] = root
	return root, mount.Ext4(img.Path, root, true, "")
}

// floor measures the Go function called straight over the control streams of
// some sandboxes at once: what no path around them can beat.
func (r *rig) floor(ctx context.Context, sandboxes, n int, body []byte) (Latency, error) {
	var calls []func() error
	var ends []func()
	defer func() {
		for _, end := range ends {
			end()
		}
	}()
	for i := range sandboxes {
		s, done, err := r.assigned(ctx, fmt.Sprintf("%016x", 0xf100+i))
		if err != nil {
			return Latency{}, err
		}
		calls, ends = append(calls, caller(ctx, s, body)), append(ends, done)
	}
	return closedLoop(sandboxes, n, func(i int) error { return calls[i]() })
}

// caller returns a function that invokes the function of one sandbox.
func caller(ctx context.Context, s *controlstream.Session, body []byte) func() error {
	n := 0
	return func() error {
		n++
		res, answer, err := s.Invoke(ctx, &controlstream.Invoke{
			RequestID: fmt.Sprintf("00000000-0000-4000-8000-%012d", n), FunctionARN: "arn:aws:lambda:us-east-1:000000000000:function:floor",
			DeadlineMs: time.Now().Add(time.Minute).UnixMilli(),
		}, body)
		if err != nil {
			return err
		}
		if res.Status != controlstream.StatusSuccess || string(answer) != string(body) {
			return fmt.Errorf("bench: the function answered %s %.200s", res.Status, answer)
		}
		_, err = s.WaitDone(ctx)
		return err
	}
}

// assigned boots a sandbox and makes it an environment of the Go function.
func (r *rig) assigned(ctx context.Context, id string) (_ *controlstream.Session, done func(), err error) {
	root, err := r.root(ctx, "provided.al2023")
	if err != nil {
		return nil, nil, err
	}
	task := filepath.Join(r.dir, "task")
	if err := os.MkdirAll(task, 0o755); err != nil {
		return nil, nil, err
	}
	program, err := os.ReadFile(r.o.Function)
	if err != nil {
		return nil, nil, err
	}
	if err := os.WriteFile(filepath.Join(task, "bootstrap"), program, 0o755); err != nil { //nolint:gosec // and runs it
		return nil, nil, err
	}
	sb, err := r.driver.Create(ctx, sandbox.Spec{ID: id, Root: root})
	if err != nil {
		return nil, nil, err
	}
	done = func() { _ = sb.Destroy(context.WithoutCancel(ctx)) }
	defer func() {
		if err != nil {
			done()
		}
	}()
	conn, err := sb.Control(ctx)
	if err != nil {
		return nil, nil, err
	}
	s, _, err := controlstream.Open(ctx, conn, controlstream.Options{})
	if err != nil {
		return nil, nil, err
	}
	done = func() { _ = s.Close(); _ = sb.Destroy(context.WithoutCancel(ctx)) }
	err = errors.Join(
		sb.Attach(ctx, "task", task, true),
		s.Assign(ctx, &controlstream.Assignment{
			FunctionName: "floor", FunctionVersion: "$LATEST", Handler: "bootstrap",
			PlatformEnv: map[string]string{"AWS_LAMBDA_FUNCTION_NAME": "floor"},
			Mounts:      []controlstream.Mount{{Source: sandbox.LateDir + "/task", Target: "/var/task", ReadOnly: true}},
			UID:         993, GID: 990, Files: 1024, Processes: 1024,
		}))
	if err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	rep, err := s.Init(ctx)
	if err == nil && rep.Status != controlstream.StatusSuccess {
		err = fmt.Errorf("bench: the function's init ended with %s: %s", rep.Status, rep.Error)
	}
	return s, done, err
}
