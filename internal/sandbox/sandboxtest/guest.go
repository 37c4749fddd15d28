package sandboxtest

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
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
	lines *bufio.Scanner
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
	return &Guest{Sandbox: s, ID: spec.ID, conn: conn, lines: bufio.NewScanner(conn)}, nil
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
	if err := json.NewEncoder(g.conn).Encode(q); err != nil {
		return "", fmt.Errorf("%w: %w", errHungUp, err)
	}
	if !g.lines.Scan() {
		return "", fmt.Errorf("%w: %w", errHungUp, g.lines.Err())
	}
	var a response
	if err := json.Unmarshal(g.lines.Bytes(), &a); err != nil {
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
