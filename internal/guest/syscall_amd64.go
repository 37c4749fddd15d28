package guest

import "unsafe"

// The system calls of an invoke, in the one form of machine code that gVisor
// can replace with a jump into the sandbox's kernel: then a call costs 1 µs
// instead of the 7 to 10 of a signal (measured). The general ones of package
// syscall, which get their number in a register, are not of that form.

func sysRead(fd int, p unsafe.Pointer, n int) int

func sysSend(fd int, p unsafe.Pointer, n, flags int) int

func sysEpollWait(fd int, events unsafe.Pointer, n int) int
