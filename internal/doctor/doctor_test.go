package doctor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/fstest"
	"time"

	"hearth/internal/datadir"
)

var now = time.Date(2027, time.March, 1, 12, 0, 0, 0, time.UTC)

// program is a real, static Go program of a module that is called as gVisor's.
var program = sync.OnceValues(func() ([]byte, error) {
	dir, err := os.MkdirTemp("", "doctor-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	for name, text := range map[string]string{
		"go.mod":  "module gvisor.dev/gvisor\n\ngo 1.26.0\n",
		"main.go": "package main\n\nfunc main() {}\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			return nil, err
		}
	}
	build := exec.Command("go", "build", "-o", "program", ".")
	build.Dir = dir
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off")
	if out, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("%w: %s", err, out)
	}
	return os.ReadFile(filepath.Join(dir, "program"))
})

var options = Options{
	DataDir: "/srv/hearth",
	Listen:  "127.0.0.1:4566",
	Runsc:   "/usr/bin/runsc",
	Init:    "/usr/bin/hearth-init",
	Egress:  true,
}

const mountsV2 = "25 1 8:1 / / rw - ext4 /dev/sda1 rw\n30 25 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"

func mountsV1(controllers ...string) string {
	var b strings.Builder
	for i, c := range controllers {
		fmt.Fprintf(&b, "%d 25 0:26 / /sys/fs/cgroup/%s rw - cgroup cgroup rw,%s\n", 30+i, c, c)
	}
	return b.String() + "29 25 0:25 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
}

// patient is a machine that lacks nothing, to be made ill by tests.
type patient struct {
	*machine
	tree fstest.MapFS
}

func healthy(t *testing.T) patient {
	t.Helper()
	binary, err := program()
	if err != nil {
		t.Fatal(err)
	}
	tree := fstest.MapFS{
		"proc/self/mountinfo":                   {Data: []byte(mountsV2)},
		"proc/meminfo":                          {Data: []byte("MemTotal: 8000000 kB\nMemFree: 1 kB\nMemAvailable: 4000000 kB\n")},
		"proc/sys/kernel/seccomp/actions_avail": {Data: []byte("kill_process trap errno allow\n")},
		"proc/sys/kernel/pid_max":               {Data: []byte("4194304\n")},
		"proc/sys/vm/max_map_count":             {Data: []byte("65530\n")},
		"sys/fs/cgroup/cgroup.controllers":      {Data: []byte("cpuset cpu io memory pids\n")},
		"dev/loop-control":                      {Mode: fs.ModeDevice | fs.ModeCharDevice | 0o600},
		"dev/fuse":                              {Mode: fs.ModeDevice | fs.ModeCharDevice | 0o600},
		"usr/bin/runsc":                         {Data: binary, Mode: 0o755},
		"usr/bin/hearth-init":                   {Data: binary, Mode: 0o755},
	}
	for _, name := range []string{"cgroup", "ipc", "mnt", "net", "pid", "uts"} {
		tree["proc/self/ns/"+name] = &fstest.MapFile{}
	}
	return patient{tree: tree, machine: &machine{
		files:     tree,
		release:   func() (string, error) { return "6.1.0-28-amd64", nil },
		now:       func() time.Time { return now },
		lookPath:  func(name string) (string, error) { return "/usr/bin/" + name, nil },
		execute:   func(context.Context, string, ...string) (string, error) { return "", nil },
		space:     func(string) (space, error) { return space{free: 100 << 30, inodes: 1 << 20}, nil },
		freeLoop:  func() error { return nil },
		listen:    func(string) error { return nil },
		tables:    func() error { return nil },
		endpoint:  func(string) (string, error) { return "", datadir.ErrNotServing },
		holder:    func(string) (int, error) { return 0, nil },
		keys:      func(string) error { return nil },
		openFiles: 1 << 20,
	}}
}

func (p patient) file(name, text string) {
	p.tree[name] = &fstest.MapFile{Data: []byte(text), Mode: 0o644}
}

func (p patient) usedDataDir() {
	p.tree["srv/hearth"] = &fstest.MapFile{Mode: fs.ModeDir | 0o700, ModTime: now}
	p.tree["srv/hearth/version"] = &fstest.MapFile{Data: []byte("1\n"), Mode: 0o600, ModTime: now}
}

func TestHealthyMachine(t *testing.T) {
	for name, change := range map[string]func(patient){
		"cgroups version 2": func(patient) {},
		"cgroups version 1": func(p patient) {
			p.file("proc/self/mountinfo", mountsV1("cpu", "cpuacct", "freezer", "memory", "pids"))
		},
		"hearth is running": func(p patient) {
			p.usedDataDir()
			p.listen = func(string) error { return syscall.EADDRINUSE }
			p.endpoint = func(string) (string, error) { return "http://" + options.Listen, nil }
			p.holder = func(string) (int, error) { return 42, nil }
			p.file("proc/self/mountinfo", mountsV2+"31 25 7:0 / /srv/hearth/worker/a ro - ext4 /dev/loop0 ro\n")
		},
		"hearth has run": func(p patient) { p.usedDataDir() },
	} {
		t.Run(name, func(t *testing.T) {
			p := healthy(t)
			change(p)
			for _, c := range p.run(t.Context(), options) {
				if !c.OK || c.Fix != "" || c.Detail == "" {
					t.Errorf("got %+v, want it to be fine and to say what is there", c)
				}
			}
		})
	}
}

// TestEachFailureNamesItselfAndItsCommand takes one thing away at a time.
func TestEachFailureNamesItselfAndItsCommand(t *testing.T) {
	for _, c := range []struct {
		name   string
		ill    func(patient)
		check  string
		detail string // in the detail
		fix    string // in the fix
		minor  bool   // Hearth runs nevertheless
	}{
		{"old kernel", func(p patient) { p.release = func() (string, error) { return "4.19.0-27-amd64", nil } },
			"kernel", "4.19.0-27-amd64 is older than 5.10", "apt-get install --yes linux-image-amd64", false},
		{"odd kernel", func(p patient) { p.release = func() (string, error) { return "plan9", nil } },
			"kernel", "not understood", "reboot", false},
		{"no network namespaces", func(p patient) { delete(p.tree, "proc/self/ns/net") },
			"namespaces", "net", "linux-image-amd64", false},
		{"no seccomp", func(p patient) { delete(p.tree, "proc/sys/kernel/seccomp/actions_avail") },
			"seccomp", "no seccomp", "linux-image-amd64", false},
		{"no seccomp traps", func(p patient) { p.file("proc/sys/kernel/seccomp/actions_avail", "kill allow") },
			"seccomp", "cannot trap", "linux-image-amd64", false},
		{"ptrace forbidden", func(p patient) { p.file("proc/sys/kernel/yama/ptrace_scope", "3\n") },
			"ptrace", "ptrace_scope is 3", "reboot", false},
		{"no cgroups", func(p patient) { p.file("proc/self/mountinfo", "25 1 8:1 / / rw - ext4 /dev/sda1 rw\n") },
			"cgroups", "no cgroup hierarchy", "mount -t cgroup2 none /sys/fs/cgroup", false},
		{"no memory controller", func(p patient) { p.file("sys/fs/cgroup/cgroup.controllers", "cpu pids") },
			"cgroups", "no memory controller", "cgroup_enable=memory", false},
		{"no freezer", func(p patient) { p.file("proc/self/mountinfo", mountsV1("cpu", "cpuacct", "memory", "pids")) },
			"cgroups", "version 1 without: freezer", "mount -t cgroup -o freezer none /sys/fs/cgroup/freezer", false},
		{"low setting", func(p patient) { p.file("proc/sys/vm/max_map_count", "4096") },
			"limits", "vm.max_map_count is 4096, want 65530", "sysctl -w vm.max_map_count=65530", true},
		{"few files", func(p patient) { p.openFiles = 1024 },
			"limits", "may open 1024 files", "ulimit -Hn 16384", true},
		{"little memory", func(p patient) { p.file("proc/meminfo", "MemTotal: 500000 kB\nMemAvailable: 400000 kB\n") },
			"memory", "want at least 1.0 GB", "ps aux --sort=-rss", false},
		{"memory in use", func(p patient) { p.file("proc/meminfo", "MemTotal: 8000000 kB\nMemAvailable: 100000 kB\n") },
			"memory", "97 MB available", "ps aux --sort=-rss", true},
		{"clock of 1970", func(p patient) { p.now = func() time.Time { return time.Unix(0, 0) } },
			"clock", "1970-01-01", "timedatectl set-ntp true", false},
		{"clock set back", func(p patient) {
			p.usedDataDir()
			p.tree["srv/hearth/lock"] = &fstest.MapFile{ModTime: now.Add(time.Hour)}
		}, "clock", "set back", "timedatectl set-ntp true", true},
		{"no loop driver", func(p patient) { delete(p.tree, "dev/loop-control") },
			"loop devices", "no /dev/loop-control", "modprobe loop", false},
		{"no loop device free", func(p patient) { p.freeLoop = func() error { return syscall.ENOSPC } },
			"loop devices", "no free one", "max_loop=1024", false},
		{"no fuse", func(p patient) { delete(p.tree, "dev/fuse") },
			"fuse", "no /dev/fuse", "modprobe fuse", false},
		{"data directory is a file", func(p patient) { p.file("srv/hearth", "x") },
			"data directory", "is a file", "hearth up --data DIR", false},
		{"data directory of another user", func(p patient) {
			p.usedDataDir()
			p.tree["srv/hearth"].Sys = &syscall.Stat_t{Uid: 1000}
		}, "data directory", "belongs to user 1000", "chown -R root: /srv/hearth", false},
		{"data directory open to all", func(p patient) {
			p.usedDataDir()
			p.tree["srv/hearth"].Mode = fs.ModeDir | 0o755
		}, "data directory", "others can enter", "chmod 700 /srv/hearth", false},
		{"keys open to all", func(p patient) {
			p.usedDataDir()
			p.keys = func(string) error { return datadir.ErrUnsafe }
		}, "data directory", "unsafe", "chmod 600 /srv/hearth/credentials", false},
		{"damaged keys", func(p patient) {
			p.usedDataDir()
			p.keys = func(string) error { return datadir.ErrDamaged }
		}, "data directory", "damaged", "mv /srv/hearth/credentials", false},
		{"data directory of a later version", func(p patient) {
			p.usedDataDir()
			p.endpoint = func(string) (string, error) { return "", datadir.ErrVersion }
		}, "data directory", "unknown version", "hearth up --data DIR", false},
		{"disk full", func(p patient) { p.space = func(string) (space, error) { return space{free: 1 << 30}, nil } },
			"disk", "1.0 GB free for /srv/hearth; want at least 5.0 GB", "du -xh", false},
		{"disk nearly full", func(p patient) { p.space = func(string) (space, error) { return space{free: 9 << 30}, nil } },
			"disk", "less than 20.0 GB", "du -xh", true},
		{"no inodes", func(p patient) {
			p.space = func(string) (space, error) { return space{free: 100 << 30, inodes: 7}, nil }
		}, "disk", "only 7 more files", "du -x --inodes", true},
		{"read-only disk", func(p patient) {
			p.space = func(string) (space, error) { return space{free: 100 << 30, readOnly: true}, nil }
		}, "disk", "read-only", "mount -o remount,rw", false},
		{"leftover mount", func(p patient) {
			p.file("proc/self/mountinfo", mountsV2+"31 25 7:0 / /srv/hearth/worker/a ro - ext4 /dev/loop0 ro\n")
			p.file("sys/block/loop0/loop/backing_file", "/srv/hearth/runtimes/a.ext4\n")
			p.file("sys/block/loop1/loop/backing_file", "/srv/hearthstone/a.ext4\n")
		}, "leftovers", "1 mounts and 1 loop devices", "hearth up --data /srv/hearth", true},
		{"port taken", func(p patient) { p.listen = func(string) error { return syscall.EADDRINUSE } },
			"listen address", "in use by another program", "ss --listening --tcp --processes 'sport = :4566'", false},
		{"address of another machine", func(p patient) { p.listen = func(string) error { return syscall.EADDRNOTAVAIL } },
			"listen address", "no address of this machine", "hearth up --listen 127.0.0.1:4566", false},
		{"no hearth-init", func(p patient) { delete(p.tree, "usr/bin/hearth-init") },
			"hearth-init", "does not exist", "make build", false},
		{"hearth-init not executable", func(p patient) { p.tree["usr/bin/hearth-init"].Mode = 0o644 },
			"hearth-init", "not a program", "make build", false},
		{"damaged hearth-init", func(p patient) { p.tree["usr/bin/hearth-init"] = &fstest.MapFile{Data: []byte("x"), Mode: 0o755} },
			"hearth-init", "damaged", "rm /usr/bin/hearth-init && make build", false},
		{"dynamic hearth-init", func(p patient) { p.tree["usr/bin/hearth-init"] = &fstest.MapFile{Data: dynamic(t), Mode: 0o755} },
			"hearth-init", "linked with libraries", "CGO_ENABLED=0 make build", false},
		{"gVisor does not boot", func(p patient) {
			p.execute = func(_ context.Context, name string, args ...string) (string, error) {
				if name == options.Runsc {
					return "creating container\ncannot create sandbox: platform not usable\n", errors.New("exit status 128")
				}
				return "", nil
			}
		}, "sandbox", "exit status 128: cannot create sandbox: platform not usable", "--debug-log=", false},
		{"no mke2fs", without("mke2fs"), "mke2fs", "missing", "apt-get install --yes e2fsprogs", false},
		{"no mmdebstrap", without("mmdebstrap"), "mmdebstrap", "missing", "apt-get install --yes mmdebstrap", true},
		{"no npm", without("npm"), "npm", "nodejs20.x", "apt-get install --yes npm", true},
		{"no pip", func(p patient) {
			p.execute = func(_ context.Context, name string, args ...string) (string, error) {
				if slices.Contains(args, "import pip") {
					return "ModuleNotFoundError: No module named 'pip'", errors.New("exit status 1")
				}
				return "", nil
			}
		}, "pip", "missing", "apt-get install --yes python3-pip", true},
		{"no nf_tables", func(p patient) { p.tables = func() error { return syscall.EOPNOTSUPP } },
			"firewall", "nf_tables does not work", "modprobe nf_tables", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := healthy(t)
			c.ill(p)
			checks := p.run(t.Context(), options)
			found := findings(checks)
			if len(found) != 1 {
				t.Fatalf("got %+v, want one finding", found)
			}
			got := found[0]
			if got.Name != c.check || !strings.Contains(got.Detail, c.detail) || !strings.Contains(got.Fix, c.fix) {
				t.Errorf("got %+v, want check %q, detail with %q, fix with %q", got, c.check, c.detail, c.fix)
			}
			if got.Fatal == c.minor || Fatal(checks) == c.minor {
				t.Errorf("got fatal %v, want %v", got.Fatal, !c.minor)
			}
		})
	}
}

// TestFailuresWithConsequences are those where one thing missing shows in
// more than one check.
func TestFailuresWithConsequences(t *testing.T) {
	for _, c := range []struct {
		name string
		ill  func(patient)
		want []string
	}{
		{"not root", func(p patient) { p.uid = 1000 }, []string{"user", "sandbox"}},
		{"no runsc", func(p patient) { delete(p.tree, "usr/bin/runsc") }, []string{"runsc", "sandbox"}},
		{"another program as runsc", func(p patient) { p.tree["usr/bin/runsc"] = &fstest.MapFile{Data: dynamic(t), Mode: 0o755} },
			[]string{"runsc", "sandbox"}},
		{"no python", without("python3"), []string{"python3", "pip"}},
		{"no proc", func(p patient) {
			for name := range p.tree {
				if strings.HasPrefix(name, "proc/") {
					delete(p.tree, name)
				}
			}
		}, []string{"namespaces", "seccomp", "cgroups", "memory", "leftovers"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := healthy(t)
			c.ill(p)
			var got []string
			for _, f := range findings(p.run(t.Context(), options)) {
				got = append(got, f.Name)
				if f.Fix == "" || f.Detail == "" {
					t.Errorf("got %+v, want a detail and a fix", f)
				}
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("got findings %q, want %q", got, c.want)
			}
		})
	}
}

// TestThisMachine makes the real probes. What they find differs between
// machines; that each says something does not.
func TestThisMachine(t *testing.T) {
	o := options
	o.DataDir = filepath.Join(t.TempDir(), "data")
	o.Listen = "127.0.0.1:0"
	for _, c := range Run(t.Context(), o) {
		if c.Name == "" || c.Detail == "" || c.OK != (c.Fix == "") {
			t.Errorf("got %+v, want a name, a detail, and a fix if it is not fine", c)
		}
		if c.Name == "listen address" && !c.OK {
			t.Errorf("port 0 is always free; got %+v", c)
		}
	}
}

func TestWrite(t *testing.T) {
	checks := []Check{
		good("kernel", "Linux 6.1"),
		poor("fuse", "none", "modprobe fuse"),
		bad("user", "user 1000\nnot root", "sudo hearth up"),
	}
	const want = `ok    kernel  Linux 6.1
warn  fuse    none
              mend it with: modprobe fuse
FAIL  user    user 1000 not root
              mend it with: sudo hearth up

Hearth cannot run functions here yet: 1 to mend, 1 warnings.
`
	var b strings.Builder
	if err := Write(&b, checks); err != nil {
		t.Fatal(err)
	}
	if b.String() != want {
		t.Errorf("got:\n%s\nwant:\n%s", b.String(), want)
	}
}

func TestWriteJSON(t *testing.T) {
	var b strings.Builder
	if err := WriteJSON(&b, []Check{poor("fuse", "none", "modprobe fuse || mknod x && y")}); err != nil {
		t.Fatal(err)
	}
	var got struct {
		OK     bool
		Checks []Check
	}
	if err := json.Unmarshal([]byte(b.String()), &got); err != nil {
		t.Fatal(err)
	}
	if !got.OK || len(got.Checks) != 1 || got.Checks[0].Fix != "modprobe fuse || mknod x && y" {
		t.Errorf("got %+v from %s", got, b.String())
	}
}

func findings(checks []Check) []Check {
	return slices.DeleteFunc(slices.Clone(checks), func(c Check) bool { return c.OK })
}

func without(program string) func(patient) {
	return func(p patient) {
		p.lookPath = func(name string) (string, error) {
			if name == program {
				return "", exec.ErrNotFound
			}
			return "/usr/bin/" + name, nil
		}
	}
}

// dynamic is a program that is linked with libraries, and not a Go program.
func dynamic(t *testing.T) []byte {
	t.Helper()
	b, err := os.ReadFile("/bin/sh")
	if err != nil {
		t.Fatal(err)
	}
	return b
}
