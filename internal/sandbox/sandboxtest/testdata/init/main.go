// Command init is process 1 of the sandboxes of the conformance suite. It
// dials the control socket and does what it is told, one JSON line a request:
// in place of hearth-init (bind a directory) or in place of a function (a
// child process with another user's rights).
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"syscall"
)

// request and response are repeated in the suite's client: this program must
// not depend on it, or a change there would rebuild every sandbox.
type request struct {
	Op   string   `json:"op"`
	Args []string `json:"args"`
	UID  uint32   `json:"uid"`
}

type response struct {
	Out string `json:"out"`
	Err string `json:"err"`
}

func main() {
	if len(os.Args) > 1 {
		out, err := act(os.Args[1], os.Args[2:])
		fmt.Print(out)
		if err != nil {
			fmt.Fprint(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	conn, err := net.Dial("unix", "/.hearth/ctl/s")
	if err != nil {
		fmt.Fprintln(os.Stderr, "init:", err)
		os.Exit(2)
	}
	serve(conn)
}

func serve(conn net.Conn) {
	lines := bufio.NewScanner(conn)
	answers := json.NewEncoder(conn)
	for lines.Scan() {
		var q request
		if err := json.Unmarshal(lines.Bytes(), &q); err != nil {
			fmt.Fprintln(os.Stderr, "init:", err)
			os.Exit(2)
		}
		out, err := do(q)
		a := response{Out: out}
		if err != nil {
			a.Err = err.Error()
		}
		if err := answers.Encode(a); err != nil {
			return
		}
	}
}

// do runs in process 1.
func do(q request) (string, error) {
	switch q.Op {
	case "echo":
		return q.Args[0], nil
	case "exit":
		fmt.Fprintln(os.Stderr, q.Args[0])
		os.Exit(3)
	case "bind":
		return "", bind(q.Args[0], q.Args[1], q.Args[2] == "ro")
	case "user":
		return asUser(q.UID, q.Args)
	case "start":
		return "", command(q.UID, q.Args).Start()
	}
	return "", fmt.Errorf("unknown request %q", q.Op)
}

func bind(source, target string, readOnly bool) error {
	if err := syscall.Mount(source, target, "", syscall.MS_BIND, ""); err != nil || !readOnly {
		return err
	}
	return syscall.Mount("", target, "", syscall.MS_BIND|syscall.MS_REMOUNT|syscall.MS_RDONLY, "")
}

// command is this program again as another user, in place of a function.
func command(uid uint32, args []string) *exec.Cmd {
	cmd := exec.Command("/.hearth/init", args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
	return cmd
}

func asUser(uid uint32, args []string) (string, error) {
	out, err := command(uid, args).Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return string(out), fmt.Errorf("%w: %s", err, exit.Stderr)
	}
	return string(out), err
}
