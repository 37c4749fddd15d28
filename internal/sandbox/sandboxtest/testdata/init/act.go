package main

import (
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const mega = 1 << 20

// act is what a function may try. It runs in a process of its own.
func act(name string, args []string) (string, error) {
	switch name {
	case "list":
		return list(args[0])
	case "read":
		text, err := os.ReadFile(args[0])
		return string(text), err
	case "write":
		return write(args[0], args[1])
	case "hog":
		return hog(args[0])
	case "fork":
		return fork()
	case "block":
		return "", syscall.Pause()
	case "spin":
		return spin(args[0])
	case "dial":
		return dial(args[0], args[1])
	case "loopback":
		return loopback()
	case "environ":
		return strings.Join(os.Environ(), "\n"), nil
	case "hostname":
		return os.Hostname()
	case "mount":
		return "", syscall.Mount("proc", "/tmp", "proc", 0, "")
	case "setuid":
		return "", syscall.Setuid(0)
	case "kill":
		return "", syscall.Kill(1, syscall.SIGKILL)
	case "trace":
		return "", syscall.PtraceAttach(1)
	}
	return "", fmt.Errorf("unknown act %q", name)
}

func list(dir string) (string, error) {
	entries, err := os.ReadDir(dir)
	var names []string
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	return strings.Join(names, " "), err
}

// write writes megabytes of a file and tells how many went in.
func write(path, megabytes string) (string, error) {
	want, err := strconv.Atoi(megabytes)
	if err != nil {
		return "", err
	}
	f, err := os.Create(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	buf := make([]byte, mega)
	for i := range buf {
		buf[i] = byte(i)
	}
	written := 0
	for range want {
		n, err := f.Write(buf)
		written += n
		if err != nil {
			return strconv.Itoa(written / mega), err
		}
	}
	return strconv.Itoa(written / mega), f.Sync()
}

func hog(megabytes string) (string, error) {
	n, err := strconv.Atoi(megabytes)
	if err != nil {
		return "", err
	}
	memory := make([]byte, n*mega)
	for i := 0; i < len(memory); i += 4096 {
		memory[i] = 1
	}
	return strconv.Itoa(len(memory) / mega), nil
}

// fork starts processes that stay, until it is refused.
func fork() (string, error) {
	for n := 0; ; n++ {
		_, err := syscall.ForkExec("/.hearth/init", []string{"init", "block"}, &syscall.ProcAttr{})
		if err != nil {
			return strconv.Itoa(n), err
		}
	}
}

// spin uses CPU time for the given time and tells how much it got.
func spin(duration string) (string, error) {
	d, err := time.ParseDuration(duration)
	if err != nil {
		return "", err
	}
	for end := time.Now().Add(d); time.Now().Before(end); {
	}
	var used syscall.Rusage
	err = syscall.Getrusage(syscall.RUSAGE_SELF, &used)
	return time.Duration(used.Utime.Nano() + used.Stime.Nano()).String(), err
}

func dial(network, address string) (string, error) {
	conn, err := net.DialTimeout(network, address, time.Second)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(time.Second)); err != nil {
		return "", err
	}
	if _, err := conn.Write([]byte("hello")); err != nil {
		return "", err
	}
	buf := make([]byte, 64)
	n, err := conn.Read(buf)
	return string(buf[:n]), err
}

// loopback connects to itself over 127.0.0.1, as the Runtime API does.
func loopback() (string, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:9001")
	if err != nil {
		return "", err
	}
	go func() {
		conn, err := listener.Accept()
		if err == nil {
			_, _ = conn.Write([]byte("looped"))
			_ = conn.Close()
		}
	}()
	return dial("tcp", "127.0.0.1:9001")
}
