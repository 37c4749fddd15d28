package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// Cold is the cold start of one runtime, medians. The interpreter started
// plainly and with an empty pool are measured in turns, since the speed of a
// machine drifts.
type Cold struct {
	Runtime string `json:"runtime"`
	// Host and Runsc are the same interpreter to its first output, started in
	// the runtime's root by chroot on the host, and by "runsc run".
	Host  time.Duration `json:"host,omitempty"`
	Runsc time.Duration `json:"runsc,omitempty"`
	// Empty and Pooled are a cold invoke at the client, with the pool empty
	// and with a booted sandbox in it.
	Empty  Steps `json:"empty"`
	Pooled Steps `json:"pooled"`
}

// Steps is where the time of a cold invoke went.
type Steps struct {
	Total    time.Duration `json:"total"`
	Boot     time.Duration `json:"boot"`
	Handover time.Duration `json:"handover"`
	Init     time.Duration `json:"init"`
	Run      time.Duration `json:"run"`
}

// settle is how long a pool is given to boot its sandbox between samples: no
// caller sees the pool.
const settle = 1500 * time.Millisecond

// samples are those of one kind of cold start.
type samples struct{ total, boot, handover, init, run []time.Duration }

func (s *samples) note(total time.Duration, steps map[string]time.Duration) {
	s.total = append(s.total, total)
	s.boot, s.handover = append(s.boot, steps["boot"]), append(s.handover, steps["handover"])
	s.init, s.run = append(s.init, steps["init"]), append(s.run, steps["run"])
}

func (s *samples) medians() Steps {
	return Steps{Total: median(s.total), Boot: median(s.boot), Handover: median(s.handover), Init: median(s.init), Run: median(s.run)}
}

// sampler returns a function that measures one cold start of a workload and
// notes it.
func (h *hearth) sampler(ctx context.Context, w workload, name string, pause time.Duration, into *samples) (func() error, error) {
	if err := h.create(ctx, name, w); err != nil {
		return nil, err
	}
	t, err := h.target(ctx, name, []byte(`1`))
	if err != nil {
		return nil, err
	}
	return func() error {
		client := newClient()
		defer client.CloseIdleConnections()
		if err := h.renew(ctx, name, len(into.total)); err != nil {
			return err
		}
		time.Sleep(pause)
		clock := time.Now()
		timing, err := t.post(ctx, client)
		if err != nil {
			return err
		}
		total, steps := time.Since(clock), timeline(timing)
		if steps["init"] == 0 {
			return fmt.Errorf("bench: an invoke of %s that should have been cold was not", name)
		}
		into.note(total, steps)
		return nil
	}, nil
}

// coldStarts measures one workload.
func coldStarts(ctx context.Context, o *Options, r *rig, w workload, name string, empty, pooled *hearth) (Cold, error) {
	var onHost, underRunsc []time.Duration
	var emptySamples, pooledSamples samples
	sampleEmpty, err := empty.sampler(ctx, w, name, 0, &emptySamples)
	if err != nil {
		return Cold{}, err
	}
	samplePooled, err := pooled.sampler(ctx, w, name, settle, &pooledSamples)
	if err != nil {
		return Cold{}, err
	}
	for round := range o.Rounds {
		if w.plain != nil {
			host, runsc, err := r.plain(ctx, w, round)
			if err != nil {
				return Cold{}, err
			}
			onHost, underRunsc = append(onHost, host), append(underRunsc, runsc)
		}
		if err := sampleEmpty(); err != nil {
			return Cold{}, err
		}
	}
	for range o.Rounds { // apart: the pool is filled again after each
		if err := samplePooled(); err != nil {
			return Cold{}, err
		}
	}
	c := Cold{Runtime: w.runtime, Empty: emptySamples.medians(), Pooled: pooledSamples.medians()}
	if w.plain != nil {
		c.Host, c.Runsc = median(onHost), median(underRunsc)
	}
	return c, nil
}

// firstOutput is the time from starting a command to its first byte of output.
func firstOutput(cmd *exec.Cmd) (time.Duration, error) {
	out, err := cmd.StdoutPipe()
	if err != nil {
		return 0, err
	}
	clock := time.Now()
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	_, err = out.Read(make([]byte, 1))
	took := time.Since(clock)
	if werr := cmd.Wait(); err == nil {
		err = werr
	}
	if err != nil {
		return 0, fmt.Errorf("bench: %v: %w", cmd.Args, err)
	}
	return took, nil
}

// plain measures once a workload's program on the host and under runsc run.
func (r *rig) plain(ctx context.Context, w workload, round int) (host, runsc time.Duration, err error) {
	root, err := r.root(ctx, w.runtime)
	if err != nil {
		return 0, 0, err
	}
	host, err = firstOutput(exec.CommandContext(ctx, "chroot", append([]string{root}, w.plain...)...))
	if err != nil {
		return 0, 0, err
	}
	runsc, err = r.runsc(ctx, root, w.plain, fmt.Sprintf("plain%011d", round))
	return host, runsc, err
}

// runsc starts a program plainly under "runsc run", with the flags that
// Hearth's driver uses too.
func (r *rig) runsc(ctx context.Context, root string, args []string, id string) (time.Duration, error) {
	bundle := filepath.Join(r.dir, id)
	if err := os.MkdirAll(bundle, 0o700); err != nil {
		return 0, err
	}
	text, err := json.Marshal(&specs.Spec{
		Version: specs.Version,
		Process: &specs.Process{Args: args, Cwd: "/", Env: []string{"PATH=/usr/local/bin:/usr/bin:/bin"}},
		Root:    &specs.Root{Path: root, Readonly: true},
		Mounts:  []specs.Mount{{Destination: "/proc", Type: "proc"}, {Destination: "/dev", Type: "tmpfs"}},
		Linux: &specs.Linux{Namespaces: []specs.LinuxNamespace{
			{Type: specs.PIDNamespace}, {Type: specs.IPCNamespace}, {Type: specs.UTSNamespace}, {Type: specs.MountNamespace}, {Type: specs.NetworkNamespace},
		}},
	})
	if err != nil {
		return 0, err
	}
	if err := os.WriteFile(filepath.Join(bundle, "config.json"), text, 0o600); err != nil {
		return 0, err
	}
	return firstOutput(exec.CommandContext(ctx, r.o.Runsc, "--root="+filepath.Join(r.dir, "run"), "--platform=systrap", "--network=none",
		"--overlay2=none", "--ignore-cgroups", "run", "-bundle="+bundle, id))
}
