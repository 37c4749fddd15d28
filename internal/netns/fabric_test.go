package netns_test

import (
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	vnetns "github.com/vishvananda/netns"

	"hearth/internal/netns"
)

// TestFabric: zones reach each other and the host; one that is cut off is not
// reached, and nobody is told; losses have a direction.
func TestFabric(t *testing.T) {
	base, err := netns.FreeFabric()
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "fabric")
	f := netns.NewFabric("t"+filepath.Base(t.TempDir()), dir, base, []string{"az1", "az2"})
	if err := f.Open(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(f.Close(), f.Close()); err != nil {
			t.Error(err)
		}
		if left, _ := os.ReadDir(dir); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
		if link, err := netlink.LinkByName("hzt" + filepath.Base(t.TempDir())); err == nil {
			t.Errorf("left behind: %v", link)
		}
	})
	enter := func(zone string) vnetns.NsHandle {
		ns, err := vnetns.GetFromPath(filepath.Join(dir, zone))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = ns.Close() })
		return ns
	}
	one, two := enter("az1"), enter("az2")
	l, err := listen(two, net.JoinHostPort(f.Address("az2").String(), "80"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	at := l.Addr().String()
	const patience, impatience = 5 * time.Second, 300 * time.Millisecond
	if _, err := ask(one, at, patience); err != nil {
		t.Errorf("from the other zone: %v", err)
	}
	here, err := vnetns.Get()
	if err != nil {
		t.Fatal(err)
	}
	defer here.Close()
	if _, err := ask(here, at, patience); err != nil {
		t.Errorf("from the host: %v", err)
	}
	for _, loss := range []netns.Loss{{Out: 100, In: 100}, {Out: 100}, {In: 100}} {
		if err := f.Lose("az2", loss); err != nil {
			t.Fatal(err)
		}
		var timeout net.Error
		if _, err := ask(one, at, impatience); !errors.As(err, &timeout) || !timeout.Timeout() {
			t.Errorf("with losses %+v: got %v, want that nothing comes back", loss, err)
		}
	}
	if err := f.Lose("az2", netns.Loss{}); err != nil {
		t.Fatal(err)
	}
	if _, err := ask(one, at, patience); err != nil {
		t.Errorf("after it was joined again: %v", err)
	}
	cmd := exec.Command("ip", "-brief", "address", "show", "eth0")
	if err := f.Start("az1", cmd); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("a process in the zone: %v", err)
	}
}

func TestFreeFabric(t *testing.T) {
	base, err := netns.FreeFabric()
	if err != nil {
		t.Fatal(err)
	}
	if !netns.FabricRange.Contains(base) || base.As4()[3] != 0 {
		t.Errorf("got %v, want 256 addresses of %v", base, netns.FabricRange)
	}
}
