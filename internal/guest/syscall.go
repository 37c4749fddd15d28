package guest

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// The raw calls never wait but the last, and say nothing to Go's scheduler:
// see poller.

// rawRead is read(2), for descriptors that do not block.
func rawRead(fd int, b []byte) (int, error) {
	return result(sysRead(fd, unsafe.Pointer(unsafe.SliceData(b)), len(b))) //nolint:gosec // as in package unix
}

// rawSend is send(2), without a wait.
func rawSend(fd int, b []byte) (int, error) {
	return result(sysSend(fd, unsafe.Pointer(unsafe.SliceData(b)), len(b), unix.MSG_NOSIGNAL|unix.MSG_DONTWAIT)) //nolint:gosec // as above
}

// rawEpollWait is epoll_wait(2) without a time limit. The caller's thread keeps
// its processor.
func rawEpollWait(fd int, events []unix.EpollEvent) (int, error) {
	return result(sysEpollWait(fd, unsafe.Pointer(unsafe.SliceData(events)), len(events))) //nolint:gosec // as above
}

// result is what package syscall makes of the kernel's result.
func result(r int) (int, error) {
	if r < 0 {
		return 0, unix.Errno(-r)
	}
	return r, nil
}
