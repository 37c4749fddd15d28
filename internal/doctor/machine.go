package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"

	"hearth/internal/datadir"
)

// machine is all that checks can see.
type machine struct {
	// files is the machine's file tree from / on.
	files fs.FS
	uid   int
	// release is the kernel's, as uname -r prints it.
	release  func() (string, error)
	now      func() time.Time
	lookPath func(name string) (string, error)
	// execute runs a program and returns all that it wrote.
	execute  func(ctx context.Context, name string, args ...string) (string, error)
	space    func(dir string) (space, error)
	freeLoop func() error
	listen   func(address string) error
	tables   func() error
	// endpoint and holder tell which Hearth serves from a data directory.
	endpoint func(dir string) (string, error)
	holder   func(dir string) (int, error)
	keys     func(dir string) error
	// openFiles is the most that a process may raise its limit to.
	openFiles uint64
}

// space is what a file system has left.
type space struct {
	free, inodes uint64
	readOnly     bool
}

func thisMachine() *machine {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		limit.Max = 0 // reported as too low, with how to raise it
	}
	return &machine{
		files:     os.DirFS("/"),
		uid:       os.Geteuid(),
		release:   release,
		now:       time.Now,
		lookPath:  exec.LookPath,
		execute:   execute,
		space:     spaceOf,
		freeLoop:  freeLoop,
		listen:    tryListen,
		tables:    listTables,
		endpoint:  datadir.Endpoint,
		holder:    datadir.Holder,
		keys:      func(dir string) error { _, err := datadir.LoadCredentials(dir); return err },
		openFiles: limit.Max,
	}
}

func release() (string, error) {
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return "", err
	}
	return unix.ByteSliceToString(name.Release[:]), nil
}

func execute(ctx context.Context, name string, args ...string) (string, error) {
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	if err != nil {
		err = errors.Join(context.Cause(ctx), err)
	}
	return string(out), err
}

func spaceOf(dir string) (space, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return space{}, fmt.Errorf("statfs %s: %w", dir, err)
	}
	return space{
		free:     s.Bavail * uint64(max(s.Bsize, 0)), // the kernel's type is signed, its values are not
		inodes:   s.Ffree,
		readOnly: s.Flags&unix.ST_RDONLY != 0,
	}, nil
}

// freeLoop asks the kernel for a free loop device, without taking it.
func freeLoop() error {
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer control.Close()
	_, err = unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
	return err
}

func tryListen(address string) error {
	listener, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", address)
	if err != nil {
		return err
	}
	return listener.Close()
}

func listTables() error {
	c, err := nftables.New()
	if err != nil {
		return err
	}
	_, err = c.ListTables()
	return err
}

// text reads a small file of the machine, without the white space around it.
func (m *machine) text(name string) (string, error) {
	b, err := fs.ReadFile(m.files, strings.TrimPrefix(name, "/"))
	return strings.TrimSpace(string(b)), err
}

func (m *machine) stat(name string) (fs.FileInfo, error) {
	return fs.Stat(m.files, strings.TrimPrefix(name, "/"))
}
