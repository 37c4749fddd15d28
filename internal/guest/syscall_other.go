//go:build !amd64

package guest

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

func sysRead(fd int, p unsafe.Pointer, n int) int {
	return raw(unix.RawSyscall(unix.SYS_READ, uintptr(fd), uintptr(p), uintptr(n)))
}

func sysSend(fd int, p unsafe.Pointer, n, flags int) int {
	return raw(unix.RawSyscall6(unix.SYS_SENDTO, uintptr(fd), uintptr(p), uintptr(n), uintptr(flags), 0, 0))
}

func sysEpollWait(fd int, events unsafe.Pointer, n int) int {
	return raw(unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(fd), uintptr(events), uintptr(n), ^uintptr(0), 0, 0))
}

// raw is the result as the kernel gives it: negative is an error.
func raw(r, _ uintptr, errno unix.Errno) int {
	if errno != 0 {
		return -int(errno)
	}
	return int(r)
}
