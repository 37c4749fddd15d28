package sandboxtest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"hearth/internal/sandbox"
	"hearth/internal/scratch"
)

// Subject is what the suite needs to know about the driver under test.
type Subject struct {
	// New returns a driver whose sandboxes run Init in place of hearth-init.
	// The driver is swept at the end of the test.
	New func(testing.TB) sandbox.Driver
	// Traces lists what exists on the host of the sandbox: processes, mounts,
	// cgroups, files, interfaces. It is empty once the sandbox is destroyed.
	Traces func(testing.TB, string) []string
}

// suite is what the checks share.
type suite struct {
	Subject
	driver  sandbox.Driver
	root    string
	volumes *scratch.Maker
	// volume is for the shared sandbox; it is removed after it.
	volume *scratch.Volume
}

// Run runs the conformance suite.
func Run(t *testing.T, subject Subject) {
	s := &suite{Subject: subject, root: Root(t)}
	s.driver = subject.New(t)
	var err error
	if s.volumes, err = scratch.New(filepath.Join(t.TempDir(), "templates")); err != nil {
		t.Fatal(err)
	}
	t.Run("Shared", func(t *testing.T) {
		s.volume = s.makeVolume(t, 512)
		g := s.boot(t)
		// In this order: each leaves the sandbox fit for the next.
		for _, check := range []struct {
			name string
			run  func(*testing.T, *Guest)
		}{
			{"Inside", s.inside},
			{"Privileges", s.privileges},
			{"Relayed", s.relayed},
			{"Attach", s.attach},
			{"Network", s.network},
			{"Freeze", s.freeze},
			{"CPU", s.cpu},
			{"Scratch", s.scratch},
			{"Memory", s.memory},
			{"Destroy", s.destroy},
		} {
			t.Run(check.name, func(t *testing.T) { check.run(t, g) })
		}
	})
	t.Run("OutOfMemory", s.outOfMemory)
	t.Run("ForkBomb", s.forkBomb)
	t.Run("Exit", s.exit)
	t.Run("DestroyFrozen", s.destroyFrozen)
	t.Run("Refusals", s.refusals)
	t.Run("Parallel", s.parallel)
}

// makeVolume makes a volume that is removed at the end of the test.
func (s *suite) makeVolume(tb testing.TB, sizeMB int) *scratch.Volume {
	tb.Helper()
	v, err := s.volumes.Make(Context(tb), filepath.Join(tb.TempDir(), "v"), sizeMB)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := v.Remove(); err != nil {
			tb.Error(err)
		}
	})
	return v
}

func (s *suite) boot(tb testing.TB) *Guest {
	tb.Helper()
	return Boot(tb, s.driver, sandbox.Spec{Root: s.root})
}

// inside checks what a function finds around itself.
func (s *suite) inside(t *testing.T, g *Guest) {
	if err := g.Echo("hello"); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ act, arg, want string }{
		{"read", "/etc/marker", "root image"},
		{"read", "/proc/sys/kernel/hostname", "hearth\n"},
		{"hostname", "", "hearth"},
		{"environ", "", "PATH=/usr/local/bin:/usr/bin:/bin\nHOME=/"},
		{"list", "/var/task", ""},
		{"list", "/tmp", ""},
		{"loopback", "", "looped"},
	} {
		got, err := g.Act(test.act, test.arg)
		if err != nil || got != test.want {
			t.Errorf("%s %s: got %q, %v, want %q", test.act, test.arg, got, err, test.want)
		}
	}
	devices, err := g.Act("list", "/dev")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"null", "zero", "urandom", "random", "fd", "stdin", "stdout", "stderr"} {
		if !strings.Contains(" "+devices+" ", " "+want+" ") {
			t.Errorf("/dev holds %q, want also %s", devices, want)
		}
	}
	mounts, err := g.Act("read", "/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	for _, hostPath := range []string{filepath.Dir(s.root), "sandboxes", "/dev/loop"} {
		if strings.Contains(mounts, hostPath) {
			t.Errorf("the mount table shows the host's %s:\n%s", hostPath, mounts)
		}
	}
}

// privileges checks what a function is refused.
func (s *suite) privileges(t *testing.T, g *Guest) {
	for _, act := range [][]string{
		{"write", "/etc/new", "1"},
		{"write", "/new", "1"},
		{"write", "/.hearth/init", "1"},
		{"list", "/.hearth/ctl"},
		{"list", sandbox.LateDir},
		{"dial", "unix", "/.hearth/ctl/s"},
		{"mount"}, {"setuid"}, {"kill"}, {"trace"},
	} {
		if got, err := g.Act(act...); err == nil {
			t.Errorf("%v: got %q, want it refused", act, got)
		}
	}
	// The root is read-only for sandbox-root as well.
	if got, err := g.actAsRoot("write", "/etc/new", "1"); err == nil {
		t.Errorf("as sandbox-root: got %q, want it refused", got)
	}
}

// relayed checks that what sandbox-root dials after the control connection
// arrives, and lasts through a pause.
func (s *suite) relayed(t *testing.T, g *Guest) {
	worker := make(chan error, 1)
	go func() { worker <- answerRelayed(Context(t), g) }()
	if got, err := g.actAsRoot("dial", "unix", "/.hearth/ctl/s"); err != nil || got != "thawed" {
		t.Errorf("dial as hearth-init does: got %q, %v, want what was sent during a pause", got, err)
	}
	if err := <-worker; err != nil {
		t.Error(err)
	}
}

// answerRelayed takes one relayed connection and answers it during a pause.
func answerRelayed(ctx context.Context, g *Guest) error {
	conn, err := g.Relayed().Accept()
	if err != nil {
		return err
	}
	defer conn.Close()
	hello := make([]byte, len("hello"))
	if _, err := io.ReadFull(conn, hello); err != nil {
		return err
	}
	if err := g.Pause(ctx); err != nil {
		return err
	}
	_, err = io.WriteString(conn, "thawed")
	return errors.Join(err, g.Resume(ctx))
}

// network checks that a sandbox without egress reaches itself and nothing
// else.
func (s *suite) network(t *testing.T, g *Guest) {
	listener, err := net.Listen("tcp", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	port := strconv.Itoa(listener.Addr().(*net.TCPAddr).Port)
	targets := []string{"127.0.0.1:" + port, "[::1]:" + port, "169.254.169.254:80", "203.0.113.10:80"}
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, address := range addresses {
		if ip := address.(*net.IPNet).IP; !ip.IsLoopback() && !ip.IsLinkLocalUnicast() {
			targets = append(targets, net.JoinHostPort(ip.String(), port))
		}
	}
	for _, target := range targets {
		if got, err := g.Act("dial", "tcp", target); err == nil {
			t.Errorf("dial %s: got %q, want it refused", target, got)
		}
	}
	if _, err := g.Act("dial", "unix", "@hearth-test"); err == nil {
		t.Error("an abstract socket of the host is reachable")
	}
}

// freeze checks that a paused sandbox is silent, and whole afterwards.
func (s *suite) freeze(t *testing.T, g *Guest) {
	ctx := Context(t)
	if _, err := g.ask(request{Op: "start", UID: function, Args: []string{"spin", "2s"}}); err != nil {
		t.Fatal(err)
	}
	// More than once: pauses must not add up.
	for range 3 {
		if err := g.Pause(ctx); err != nil {
			t.Fatal(err)
		}
		before, err := g.Stats(ctx)
		if err != nil {
			t.Fatal(err)
		}
		answered, err := g.echoWhilePaused(50 * time.Millisecond)
		if err != nil {
			t.Fatal(err)
		}
		after, err := g.Stats(ctx)
		if used, most := after.CPU-before.CPU, 5*time.Millisecond; err != nil || used > most {
			t.Errorf("CPU used in 50 ms of pause: got %v (%v), want at most %v", used, err, most)
		}
		if err := g.Resume(ctx); err != nil {
			t.Fatal(err)
		}
		if err := answered(); err != nil {
			t.Fatal(err)
		}
	}
}

func (s *suite) destroy(t *testing.T, g *Guest) {
	if traces := s.Traces(t, g.ID); len(traces) == 0 {
		t.Error("a live sandbox has no traces: Subject.Traces looks for the wrong things")
	}
	ctx := Context(t)
	for range 2 { // it is idempotent
		if err := g.Close(ctx); err != nil {
			t.Fatal(err)
		}
	}
	for _, trace := range s.Traces(t, g.ID) {
		t.Errorf("left behind: %s", trace)
	}
	select {
	case <-g.Done():
	default:
		t.Error("Done is open after Destroy")
	}
	if err := g.Attach(ctx, "late", t.TempDir(), true); err == nil {
		t.Error("Attach after Destroy: got no error")
	}
	if err := g.Pause(ctx); err == nil {
		t.Error("Pause after Destroy: got no error")
	}
}

func (s *suite) destroyFrozen(t *testing.T) {
	ctx := Context(t)
	g := s.boot(t)
	if err := g.Pause(ctx); err != nil {
		t.Fatal(err)
	}
	if err := g.Close(ctx); err != nil {
		t.Fatal(err)
	}
	for _, trace := range s.Traces(t, g.ID) {
		t.Errorf("left behind: %s", trace)
	}
}

// exit checks that the end of process 1 is the end of the sandbox, noticed.
func (s *suite) exit(t *testing.T) {
	g := s.boot(t)
	if _, err := g.ask(request{Op: "exit", Args: []string{"these are last words"}}); err == nil {
		t.Error("exit: got an answer, want none")
	}
	exit, err := g.waitExit(Context(t))
	if err != nil {
		t.Fatal(err)
	}
	if exit.OutOfMemory || !strings.Contains(exit.Detail, "last words") {
		t.Errorf("Exit: got %+v, want the last words and not out of memory", exit)
	}
}

func (s *suite) refusals(t *testing.T) {
	ctx := Context(t)
	for _, spec := range []sandbox.Spec{
		{ID: "../../../../etc/x1", Root: s.root},
		{ID: "", Root: s.root},
		{ID: NewID(), Root: filepath.Join(t.TempDir(), "missing")},
	} {
		if sb, err := s.driver.Create(ctx, spec); err == nil {
			t.Errorf("Create(%+v): got a sandbox, want an error", spec)
			_ = sb.Destroy(ctx)
		} else if len(spec.ID) == 16 && len(s.Traces(t, spec.ID)) > 0 {
			t.Errorf("Create(%+v) left behind %v", spec, s.Traces(t, spec.ID))
		}
	}
	g := s.boot(t)
	if sb, err := s.driver.Create(ctx, sandbox.Spec{ID: g.ID, Root: s.root}); err == nil {
		t.Error("Create with an id in use: got a sandbox, want an error")
		_ = sb.Destroy(ctx)
	}
	if err := g.Echo("unharmed"); err != nil {
		t.Error(err)
	}
	for _, name := range []string{"", "..", "a/b", "/tmp", strings.Repeat("x", 40)} {
		if err := g.Attach(ctx, name, t.TempDir(), true); err == nil {
			t.Errorf("Attach(%q): got no error", name)
		}
	}
	if _, err := g.Control(ctx); err == nil {
		t.Error("a second Control: got no error")
	}
}

// parallel checks that sandboxes made at once do not get in each other's way.
func (s *suite) parallel(t *testing.T) {
	const n = 20
	ctx := Context(t)
	var group sync.WaitGroup
	ids := make([]string, n)
	for i := range n {
		ids[i] = NewID()
		dir := filepath.Join(t.TempDir(), "v")
		group.Go(func() {
			if err := s.life(ctx, ids[i], dir); err != nil {
				t.Error(fmt.Errorf("sandbox %d: %w", i, err))
			}
		})
	}
	group.Wait()
	for _, id := range ids {
		for _, trace := range s.Traces(t, id) {
			t.Errorf("left behind: %s", trace)
		}
	}
}

// life is that of one sandbox, its /tmp made and mounted at dir.
func (s *suite) life(ctx context.Context, id, dir string) (err error) {
	volume, err := s.volumes.Make(ctx, dir, 16)
	if err != nil {
		return err
	}
	g, err := boot(ctx, s.driver, sandbox.Spec{ID: id, Root: s.root})
	if err != nil {
		return errors.Join(err, volume.Remove())
	}
	defer func() { err = errors.Join(err, g.Close(ctx), volume.Remove()) }()
	if err := g.Attach(ctx, "tmp", volume.Dir, false); err != nil {
		return err
	}
	if err := g.bind("tmp", "/tmp", false); err != nil {
		return err
	}
	if _, err := g.Act("write", "/tmp/"+id, "1"); err != nil {
		return err
	}
	if got, err := g.Act("list", "/tmp"); err != nil || got != id {
		return fmt.Errorf("list /tmp: got %q, %w, want %q", got, err, id)
	}
	if err := g.Pause(ctx); err != nil {
		return err
	}
	return g.Resume(ctx)
}
