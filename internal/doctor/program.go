package doctor

import (
	"context"
	"debug/buildinfo"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"
)

// rebuild is what makes the programs that Hearth comes with.
const rebuild = "make build"

// open opens a program for looking into it.
func (m *machine) open(path string) (io.ReaderAt, func() error, error) {
	info, err := m.stat(path)
	if err != nil {
		return nil, nil, err
	}
	if !info.Mode().IsRegular() || info.Mode().Perm()&0o111 == 0 {
		return nil, nil, fmt.Errorf("%s is not a program that may be run (mode %s)", path, info.Mode())
	}
	f, err := m.files.Open(strings.TrimPrefix(path, "/"))
	if err != nil {
		return nil, nil, err
	}
	r, ok := f.(io.ReaderAt)
	if !ok {
		return nil, nil, errors.Join(fmt.Errorf("%s cannot be read at random", path), f.Close())
	}
	return r, f.Close, nil
}

func (m *machine) runsc(path string) Check {
	r, closeFile, err := m.open(path)
	if err != nil {
		return bad("runsc", err.Error(), rebuild)
	}
	info, err := buildinfo.Read(r)
	if err := errors.Join(err, closeFile()); err != nil {
		return bad("runsc", fmt.Sprintf("%s is damaged: %v", path, err), "rm "+path+" && "+rebuild)
	}
	if info.Main.Path != "gvisor.dev/gvisor" {
		return bad("runsc", fmt.Sprintf("%s is not gVisor's, but %s", path, info.Main.Path), "rm "+path+" && "+rebuild)
	}
	return good("runsc", fmt.Sprintf("%s, gVisor %s", path, info.Main.Version))
}

const bootTimeout = 30 * time.Second

// boot runs a program in a sandbox under the settings that matter for whether
// gVisor works on this kernel at all.
func (m *machine) boot(ctx context.Context, runsc string, runnable bool) Check {
	const name = "sandbox"
	if !runnable || m.uid != 0 {
		return poor(name, "not tried: it needs root and runsc", "sudo hearth doctor   # once those two are there")
	}
	state, err := os.MkdirTemp("", "hearth-doctor-")
	if err != nil {
		return bad(name, err.Error(), "df -h /tmp")
	}
	defer os.RemoveAll(state)
	ctx, cancel := context.WithTimeoutCause(ctx, bootTimeout, fmt.Errorf("no answer within %s", bootTimeout))
	defer cancel()
	args := []string{"--root=" + state, "--platform=systrap", "--network=none", "--ignore-cgroups", "do", "true"}
	start := m.now()
	out, err := m.execute(ctx, runsc, args...)
	if err != nil {
		const logs = "/tmp/runsc-log/"
		return bad(name, fmt.Sprintf("gVisor does not boot here: %v: %s", err, lastLine(out)),
			fmt.Sprintf("%s --debug --debug-log=%s --platform=systrap --network=none --ignore-cgroups do true; tail -n 40 %[2]s*boot*", runsc, logs))
	}
	return good(name, fmt.Sprintf("gVisor ran a program in %d ms", m.now().Sub(start).Milliseconds()))
}

func lastLine(text string) string {
	text = strings.TrimSpace(text)
	text = text[strings.LastIndexByte(text, '\n')+1:]
	return text[:min(len(text), 300)]
}

// hearthInit must run in any image, hence need nothing of it.
func (m *machine) hearthInit(path string) Check {
	const name = "hearth-init"
	r, closeFile, err := m.open(path)
	if err != nil {
		return bad(name, err.Error(), rebuild)
	}
	f, err := elf.NewFile(r)
	if err != nil {
		return bad(name, errors.Join(fmt.Errorf("%s is damaged", path), err, closeFile()).Error(), "rm "+path+" && "+rebuild)
	}
	static := true
	for _, p := range f.Progs {
		static = static && p.Type != elf.PT_INTERP
	}
	if err := closeFile(); err != nil {
		return bad(name, err.Error(), rebuild)
	}
	if !static {
		return bad(name, path+" is linked with libraries that images need not have", "CGO_ENABLED=0 "+rebuild)
	}
	return good(name, path+", static")
}

// tools are the programs of the machine that Hearth runs.
func (m *machine) tools() []Check {
	var checks []Check
	for _, t := range []struct {
		program, pkg, use string
		fatal             bool
	}{
		{"mke2fs", "e2fsprogs", "makes /tmp of functions and images of runtimes", true},
		{"mmdebstrap", "mmdebstrap", "builds images of runtimes", false},
		{"python3", "python3", "builds the image of python3.11", false},
		{"pip", "python3-pip", "builds the image of python3.11", false},
		{"npm", "npm", "builds the image of nodejs20.x", false},
	} {
		c := Check{Name: t.program, OK: true, Detail: t.use}
		if err := m.find(t.program); err != nil {
			c = Check{Name: t.program, Detail: "missing: it " + t.use, Fix: "apt-get update && apt-get install --yes " + t.pkg, Fatal: t.fatal}
		}
		checks = append(checks, c)
	}
	return checks
}

// find looks for a program on the path. Debian has pip as a module of Python,
// with a program of that name or without.
func (m *machine) find(program string) error {
	if program != "pip" {
		_, err := m.lookPath(program)
		return err
	}
	python, err := m.lookPath("python3")
	if err != nil {
		return err
	}
	if out, err := m.execute(context.Background(), python, "-c", "import pip"); err != nil {
		return fmt.Errorf("%w: %s: %s", fs.ErrNotExist, program, lastLine(out))
	}
	return nil
}
