package sandboxtest

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"testing"
	"time"

	"hearth/internal/sandbox"
)

const checkLimit = 60 * time.Second

var errCheckLimit = errors.New("the check took too long")

// Guest is a sandbox that runs the test's init, and the talk with it.
type Guest struct {
	sandbox.Sandbox
	ID    string
	conn  net.Conn
	lines *bufio.Reader
}

// Boot creates a sandbox and waits for its init. The sandbox is destroyed at
// the end of the test.
func Boot(tb testing.TB, driver sandbox.Driver, spec sandbox.Spec) *Guest {
	tb.Helper()
	g, err := boot(Context(tb), driver, spec)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := g.Close(context.Background()); err != nil {
			tb.Errorf("Destroy: %v", err)
		}
	})
	return g
}

func boot(ctx context.Context, driver sandbox.Driver, spec sandbox.Spec) (*Guest, error) {
	if spec.ID == "" {
		spec.ID = NewID()
	}
	s, err := driver.Create(ctx, spec)
	if err != nil {
		return nil, err
	}
	conn, err := s.Control(ctx)
	if err != nil {
		return nil, errors.Join(err, s.Destroy(ctx))
	}
	return &Guest{Sandbox: s, ID: spec.ID, conn: conn, lines: bufio.NewReader(conn)}, nil
}

// Close hangs up and destroys the sandbox.
func (g *Guest) Close(ctx context.Context) error {
	_ = g.conn.Close() // closed already by a check that wants it so
	return g.Destroy(ctx)
}

type request struct {
	Op   string   `json:"op"`
	Args []string `json:"args"`
	UID  uint32   `json:"uid"`
}

type response struct {
	Out string `json:"out"`
	Err string `json:"err"`
}

var errHungUp = errors.New("the sandbox hung up")

// ask sends one request to process 1 and waits for its answer.
func (g *Guest) ask(q request) (string, error) {
	if err := g.send(q); err != nil {
		return "", err
	}
	return g.answer()
}

func (g *Guest) send(q request) error {
	if err := json.NewEncoder(g.conn).Encode(q); err != nil {
		return fmt.Errorf("%w: %w", errHungUp, err)
	}
	return nil
}

func (g *Guest) answer() (string, error) {
	line, err := g.lines.ReadBytes('\n')
	if err != nil {
		return "", fmt.Errorf("%w: %w", errHungUp, err)
	}
	var a response
	if err := json.Unmarshal(line, &a); err != nil {
		return "", err
	}
	if a.Err != "" {
		return a.Out, errors.New(a.Err)
	}
	return a.Out, nil
}

// Echo sends text there and back.
func (g *Guest) Echo(text string) error {
	got, err := g.ask(request{Op: "echo", Args: []string{text}})
	if err == nil && got != text {
		return fmt.Errorf("echo: got %q, want %q", got, text)
	}
	return err
}

// echoWhilePaused sends an echo that must not be answered within the time
// given, and returns what tells whether it is answered later.
func (g *Guest) echoWhilePaused(silence time.Duration) (answered func() error, err error) {
	if err := g.send(request{Op: "echo", Args: []string{"late"}}); err != nil {
		return nil, err
	}
	if err := g.conn.SetReadDeadline(time.Now().Add(silence)); err != nil {
		return nil, err
	}
	if got, err := g.answer(); !errors.Is(err, os.ErrDeadlineExceeded) {
		return nil, fmt.Errorf("a paused sandbox answers %q, %w", got, err)
	}
	return func() error {
		if got, err := g.answer(); err != nil || got != "late" {
			return fmt.Errorf("a resumed sandbox answers %q, %w, want %q", got, err, "late")
		}
		return nil
	}, g.conn.SetReadDeadline(time.Time{})
}

// waitExit waits for the sandbox to end by itself.
func (g *Guest) waitExit(ctx context.Context) (sandbox.Exit, error) {
	select {
	case <-g.Done():
		return g.Exit(), nil
	case <-ctx.Done():
		return sandbox.Exit{}, fmt.Errorf("the sandbox does not end: %w", context.Cause(ctx))
	}
}

// function is the user that acts in place of a function: neither root nor
// anybody on the host.
const function = 993

// Act does something as the function's user, in a process of its own.
func (g *Guest) Act(args ...string) (string, error) {
	return g.ask(request{Op: "user", UID: function, Args: args})
}

// actAsRoot does it as the user that hearth-init runs as.
func (g *Guest) actAsRoot(args ...string) (string, error) {
	return g.ask(request{Op: "user", UID: 0, Args: args})
}

// bind binds what was attached as name to target, as hearth-init does.
func (g *Guest) bind(name, target string, readOnly bool) error {
	mode := "rw"
	if readOnly {
		mode = "ro"
	}
	_, err := g.ask(request{Op: "bind", Args: []string{sandbox.LateDir + "/" + name, target, mode}})
	return err
}
