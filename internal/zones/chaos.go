package zones

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"hearth/internal/ca"
	"hearth/internal/netns"
)

// Order is what is to happen to a zone, or to a role of it.
type Order struct {
	// Do is kill, pause, cut, lose, heal or restart.
	Do   string  `json:"do"`
	Zone string  `json:"zone"`
	Role ca.Role `json:"role,omitempty"` // empty for all
	// Out and In are for lose: how many of a hundred packets are dropped that the
	// zone sends, and that are sent to it.
	Out int `json:"out,omitempty"`
	In  int `json:"in,omitempty"`
}

const socketFile = "chaos.sock"

// takeOrders listens for orders on a socket that only its owner can open.
func (c *Cluster) takeOrders() error {
	path := filepath.Join(c.dir.Path(), socketFile)
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	listener, err := net.Listen("unix", path) //nolint:noctx // it waits for nothing
	if err != nil {
		return fmt.Errorf("listen for orders: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return errors.Join(err, listener.Close())
	}
	server := &http.Server{ReadHeaderTimeout: time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var o Order
		err := json.NewDecoder(io.LimitReader(r.Body, 1<<10)).Decode(&o)
		if err == nil {
			err = c.obey(&o)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
		}
	})}
	c.wg.Go(func() { _ = server.Serve(listener) }) // it ends when it is closed
	c.later(func() { _ = server.Close() })
	return nil
}

// obey does what an order says.
func (c *Cluster) obey(o *Order) error {
	processes, err := c.find(o.Zone, o.Role)
	if err != nil {
		return err
	}
	c.log.Info("chaos", "do", o.Do, "zone", o.Zone, "role", o.Role)
	switch o.Do {
	case "kill":
		kill(processes...)
	case "pause":
		for _, p := range processes {
			p.pause(true)
		}
	case "restart":
		for _, p := range processes {
			p.restart()
		}
	case "cut", "lose":
		return c.lose(o)
	case "heal":
		if o.Role == "" {
			if err := c.fabric.Lose(o.Zone, netns.Loss{}); err != nil {
				return err
			}
		}
		for _, p := range processes {
			p.heal()
		}
	default:
		return fmt.Errorf("there is no %.20q; want kill, pause, cut, lose, heal or restart", o.Do)
	}
	return nil
}

// lose breaks a zone's network.
func (c *Cluster) lose(o *Order) error {
	if o.Role != "" {
		return errors.New("only a whole zone has a network: give no role")
	}
	loss := netns.Loss{Out: o.Out, In: o.In}
	if o.Do == "cut" {
		loss = netns.Loss{Out: 100, In: 100}
	}
	if loss.Out < 0 || loss.In < 0 || loss.Out > 100 || loss.In > 100 || loss == (netns.Loss{}) {
		return fmt.Errorf("losses of %d and %d of 100 packets: want 0 to 100, and some", loss.Out, loss.In)
	}
	return c.fabric.Lose(o.Zone, loss)
}

// Send gives an order to the cluster that serves from a data directory.
func Send(ctx context.Context, data string, o Order) error {
	b, err := json.Marshal(o)
	if err != nil {
		return err
	}
	path := filepath.Join(data, socketFile)
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", path)
	}}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://chaos/", bytes.NewReader(b))
	if err != nil {
		return err
	}
	res, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("no cluster of zones serves from %s (%w); start one with: hearth up --azs 3 --data %s", data, err, data)
	}
	defer func() { _ = res.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(res.Body, 4<<10))
	if err != nil {
		return err
	}
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("%s", bytes.TrimSpace(text))
	}
	return nil
}
