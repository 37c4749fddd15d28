package guest_test

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"hearth/internal/controlstream"
	"hearth/internal/guest/guesttest"
)

// relays is how many connections hearth-init relays at once.
const relays = 32

// relayed is a hearth-init under test, of which the test is client and worker.
func relayed(t *testing.T) *guesttest.Guest {
	t.Helper()
	g := guesttest.Start(t, guesttest.NewDirs(t), controlstream.Options{})
	err := g.Session.Assign(t.Context(), &controlstream.Assignment{UID: testUID, GID: testGID, Files: 1024, Processes: 1024})
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func dialEndpoint(t *testing.T, g *guesttest.Guest) *net.TCPConn {
	t.Helper()
	c, err := net.Dial("tcp", g.Endpoint)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c.(*net.TCPConn)
}

func accept(t *testing.T, g *guesttest.Guest) *net.UnixConn {
	t.Helper()
	c, err := g.Relayed.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c.(*net.UnixConn)
}

// TestRelayCarriesBothWays sends more than any buffer holds through a relay, in
// both directions at once, to their ends.
func TestRelayCarriesBothWays(t *testing.T) {
	g := relayed(t)
	client := dialEndpoint(t, g)
	worker := accept(t, g)
	up, down := make([]byte, 5<<20), make([]byte, 7<<20)
	_, _ = rand.Read(up)
	_, _ = rand.Read(down)
	var all sync.WaitGroup
	send := func(c interface {
		io.Writer
		CloseWrite() error
	}, b []byte,
	) {
		all.Go(func() {
			if _, err := c.Write(b); err != nil {
				t.Error(err)
			}
			if err := c.CloseWrite(); err != nil {
				t.Error(err)
			}
		})
	}
	receive := func(from io.Reader, want []byte) {
		all.Go(func() {
			if got, err := io.ReadAll(from); err != nil || !bytes.Equal(got, want) {
				t.Errorf("got %d bytes, %v, want the %d that were sent", len(got), err, len(want))
			}
		})
	}
	send(client, up)
	receive(worker, up)
	receive(client, down)
	// The client's end is carried before the worker's: an answer may follow
	// the end of a request.
	send(worker, down)
	all.Wait()
}

// TestRelayEndsWithEither closes one side and expects the end of the other.
func TestRelayEndsWithEither(t *testing.T) {
	g := relayed(t)
	one := make([]byte, 1)
	t.Run("client", func(t *testing.T) {
		client := dialEndpoint(t, g)
		worker := accept(t, g)
		_ = client.Close()
		if _, err := worker.Read(one); !errors.Is(err, io.EOF) {
			t.Errorf("worker: got %v, want the end", err)
		}
	})
	t.Run("worker", func(t *testing.T) {
		client := dialEndpoint(t, g)
		worker := accept(t, g)
		_ = worker.Close()
		if _, err := client.Read(one); !errors.Is(err, io.EOF) {
			t.Errorf("client: got %v, want the end", err)
		}
	})
	t.Run("answer before the request's end", func(t *testing.T) {
		client := dialEndpoint(t, g)
		worker := accept(t, g)
		if _, err := worker.Write([]byte("no")); err != nil {
			t.Fatal(err)
		}
		_ = worker.Close()
		for range 16 { // nobody wants it
			if _, err := client.Write(make([]byte, 256<<10)); err != nil {
				t.Fatalf("the client is cut off in mid-sentence: %v", err)
			}
		}
		if got, err := io.ReadAll(client); err != nil || string(got) != "no" {
			t.Errorf("client: got %q, %v, want the answer", got, err)
		}
	})
	t.Run("client that does not read", func(t *testing.T) {
		client := dialEndpoint(t, g)
		worker := accept(t, g)
		filled := make(chan error, 1)
		go func() {
			_, err := io.Copy(worker, neverEnding{})
			filled <- err
		}()
		if _, err := client.Read(one); err != nil { // it flows
			t.Fatal(err)
		}
		_ = client.SetLinger(0)
		_ = client.Close()
		if err := <-filled; err == nil {
			t.Error("the worker can write to a client that is gone")
		}
	})
}

type neverEnding struct{}

func (neverEnding) Read(b []byte) (int, error) { return len(b), nil }

// TestRelayHoldsBack has a client that does not read: the worker's writes come
// to a halt, and other connections and hearth-init go on.
func TestRelayHoldsBack(t *testing.T) {
	g := relayed(t)
	dialEndpoint(t, g)
	worker := accept(t, g)
	_ = worker.SetWriteDeadline(time.Now().Add(500 * time.Millisecond))
	n, err := io.Copy(worker, io.LimitReader(neverEnding{}, 1<<30))
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("%d bytes were taken for a client that does not read, %v", n, err)
	}
	if n > 32<<20 {
		t.Errorf("%d bytes are held for a client that does not read", n)
	}
	client := dialEndpoint(t, g)
	other := accept(t, g)
	if _, err := client.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(other, make([]byte, 1)); err != nil {
		t.Errorf("another connection: %v", err)
	}
}

// TestRelaysAreBounded opens as many connections as are relayed and one more:
// that waits until one of them ends.
func TestRelaysAreBounded(t *testing.T) {
	g := relayed(t)
	for range relays - 1 {
		dialEndpoint(t, g)
		accept(t, g)
	}
	last := dialEndpoint(t, g)
	worker := accept(t, g)
	late := dialEndpoint(t, g)
	if _, err := late.Write([]byte("late")); err != nil {
		t.Fatal(err)
	}
	listener := g.Relayed.(*net.UnixListener)
	_ = listener.SetDeadline(time.Now().Add(200 * time.Millisecond))
	if c, err := listener.Accept(); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("connection %d is relayed: %v, %v", relays+1, c, err)
	}
	_ = listener.SetDeadline(time.Time{})
	// A place is free once both have ended.
	_ = last.Close()
	_ = worker.Close()
	worker = accept(t, g)
	got := make([]byte, 4)
	if _, err := io.ReadFull(worker, got); err != nil || string(got) != "late" {
		t.Errorf("got %q, %v, want what the late one sent", got, err)
	}
}

// TestEndpointIsNoControlStream speaks the control protocol to the endpoint:
// hearth-init does not listen.
func TestEndpointIsNoControlStream(t *testing.T) {
	g := relayed(t)
	client := dialEndpoint(t, g)
	worker := accept(t, g)
	shutdown := "\x06\x00\x00\x00\x00\x00\x00\x08\x00\x00\x00\x00" + strings.Repeat("\x00", 8)
	if _, err := io.WriteString(client, shutdown); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(shutdown))
	if _, err := io.ReadFull(worker, got); err != nil || string(got) != shutdown {
		t.Fatalf("got %q, %v, want the bytes", got, err)
	}
	select {
	case <-g.Exited:
		t.Error("hearth-init obeys its function")
	case <-g.Session.Closed():
		t.Error("the function ended the control stream")
	default:
	}
}
