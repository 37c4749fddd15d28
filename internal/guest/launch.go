package guest

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"hearth/internal/controlstream"
)

// launch starts the runtime of the assigned function: the prewarmed one, if
// it can still become that, or a new one.
func (g *guest) launch() (*started, *failure) {
	if g.fn == nil {
		return nil, unstartable(typeInvalidEntrypoint, "no function has been assigned")
	}
	env := g.cfg.functionEnv(g.fn)
	if warm := g.warm; warm != nil {
		g.warm = nil
		if g.fn.Image == nil && warm.handOver(g.fn, env, g.cfg.TaskDir) {
			return &started{proc: warm.proc, logs: warm.logs}, nil
		}
		g.procs.killAll()
		warm.discard()
	}
	prog, fail := g.program(env)
	if fail != nil {
		return nil, fail
	}
	prog.env, prog.uid, prog.gid = environ(env), g.fn.UID, g.fn.GID
	rt, err := g.startRuntime(prog)
	if err != nil {
		return nil, unstartable(typeInvalidEntrypoint, err.Error())
	}
	return rt, nil
}

// program finds what to start for the function.
func (g *guest) program(env map[string]string) (program, *failure) {
	if g.fn.Image != nil {
		return imageProgram(g.fn.Image, env["PATH"])
	}
	path, found := g.bootstrap()
	if !found {
		return program{}, unstartable(typeInvalidEntrypoint, fmt.Sprintf("Couldn't find valid bootstrap(s): [%s %s]",
			filepath.Join(g.cfg.TaskDir, "bootstrap"), filepath.Join(g.cfg.OptDir, "bootstrap")))
	}
	return program{path: path, dir: g.cfg.TaskDir}, nil
}

// imageProgram is the command of a container image.
func imageProgram(image *controlstream.Image, searchPath string) (program, *failure) {
	if len(image.Command) == 0 || image.Command[0] == "" {
		return program{}, unstartable(typeInvalidEntrypoint, "the image has no ENTRYPOINT or CMD, and the function no ImageConfig")
	}
	dir := filepath.Join("/", image.Dir)
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		return program{}, unstartable(typeInvalidWorkingDir, fmt.Sprintf("the working directory %s is not a directory of the image", dir))
	}
	name := image.Command[0]
	path, found := lookUp(name, dir, searchPath)
	if !found {
		return program{}, unstartable(typeInvalidEntrypoint, fmt.Sprintf("fork/exec %s: no such file or directory", name))
	}
	return program{path: path, args: image.Command[1:], dir: dir}, nil
}

// lookUp finds a program as a shell would.
func lookUp(name, dir, searchPath string) (path string, found bool) {
	if strings.Contains(name, "/") {
		if !filepath.IsAbs(name) {
			name = filepath.Join(dir, name)
		}
		return name, isProgram(name)
	}
	for _, in := range filepath.SplitList(searchPath) {
		if path := filepath.Join("/", in, name); in != "" && isProgram(path) {
			return path, true
		}
	}
	return "", false
}

func isProgram(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}

func unstartable(kind, message string) *failure {
	return &failure{status: controlstream.StatusError, kind: kind, message: message}
}

// bootstrap finds the runtime's executable, where AWS looks for it.
func (g *guest) bootstrap() (path string, found bool) {
	for _, dir := range []string{g.cfg.RuntimeDir, g.cfg.TaskDir, g.cfg.OptDir} {
		path = filepath.Join(dir, "bootstrap")
		if info, err := os.Stat(path); err == nil && !info.IsDir() {
			return path, true
		}
	}
	return "", false
}

// startRuntime starts prog with its output in a pipe of its own. Descriptors
// from 3 on are those that prog asks for.
func (g *guest) startRuntime(prog program) (*started, error) {
	null, err := unix.Open(os.DevNull, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", os.DevNull, err)
	}
	defer unix.Close(null)
	logs, out, err := newLogPipe(g.poller, g.sendLogs)
	if err != nil {
		return nil, err
	}
	defer unix.Close(out)
	prog.files = append([]uintptr{uintptr(null), uintptr(out), uintptr(out)}, prog.files...)
	proc, err := g.procs.start(prog)
	if err != nil {
		logs.free()
		return nil, err
	}
	return &started{proc: proc, logs: logs}, nil
}

func (g *guest) sendLogs(records []controlstream.LogRecord) error {
	return g.stream.Log(records)
}

// prewarmTime is how long hearth-init waits for a prewarmed runtime before it
// says hello; one that is later can still be used.
const prewarmTime = 2 * time.Second

// prewarmed is a runtime that was started before its function is known.
type prewarmed struct {
	started
	uid, gid int
	limits   [2]int // files, processes
	env      map[string]string
	assign   *os.File // the write end of its descriptor 3
}

// handover is the line that a prewarmed runtime reads from descriptor 3.
type handover struct {
	Env map[string]string `json:"env"`
	Cwd string            `json:"cwd"`
}

// prewarm starts the runtime's prewarm program, if there is one, and says
// whether it waits for its function.
func (g *guest) prewarm() (ready bool, err error) {
	path := filepath.Join(g.cfg.RuntimeDir, "prewarm")
	info, err := os.Stat(path)
	if err != nil || !info.Mode().IsRegular() || info.Mode()&0o111 == 0 {
		return false, nil // most runtimes have none
	}
	assignR, assignW, err := os.Pipe()
	if err != nil {
		return false, fmt.Errorf("prewarm: %w", err)
	}
	defer assignR.Close()
	readyR, readyW, err := os.Pipe()
	if err != nil {
		return false, errors.Join(fmt.Errorf("prewarm: %w", err), assignW.Close())
	}
	defer readyR.Close()
	defer readyW.Close()
	env := g.cfg.bootEnv()
	rt, err := g.startRuntime(program{
		path: path, env: environ(env), dir: "/", uid: g.cfg.PrewarmUID, gid: g.cfg.PrewarmGID,
		files: []uintptr{assignR.Fd(), readyW.Fd()},
	})
	if err != nil {
		return false, errors.Join(fmt.Errorf("prewarm: %w", err), assignW.Close())
	}
	g.warm = &prewarmed{
		started: *rt, uid: g.cfg.PrewarmUID, gid: g.cfg.PrewarmGID,
		limits: [2]int{g.cfg.Files, g.cfg.Processes}, env: env, assign: assignW,
	}
	_ = readyW.Close() // so that its death is seen as the end of the pipe
	_ = readyR.SetReadDeadline(time.Now().Add(prewarmTime))
	var b [1]byte
	n, _ := readyR.Read(b[:])
	return n == 1 && b[0] == '\n', nil
}

// handOver makes the prewarmed runtime the function's. It reports false if
// only a new process will do, or this one is dead.
func (p *prewarmed) handOver(a *controlstream.Assignment, env map[string]string, dir string) bool {
	defer p.assign.Close()
	select {
	case <-p.proc.exited:
		return false
	default:
	}
	if p.uid != a.UID || p.gid != a.GID || p.limits != [2]int{a.Files, a.Processes} || needsFresh(p.env, env) {
		return false
	}
	line, err := json.Marshal(handover{Env: env, Cwd: dir})
	if err != nil {
		return false
	}
	// A pipe holds 64 KiB: with 4 KiB of variables a runtime that does not
	// read cannot hold this up for long, and the deadline ends it.
	_ = p.assign.SetWriteDeadline(time.Now().Add(prewarmTime))
	_, err = p.assign.Write(append(line, '\n'))
	return err == nil
}

// discard frees what is left of a prewarmed runtime that was killed.
func (p *prewarmed) discard() { p.logs.free() }
