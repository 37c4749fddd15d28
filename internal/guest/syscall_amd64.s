#include "textflag.h"

// Each is "mov $number, %eax; syscall", which is what gVisor replaces with a
// jump into its own code. See syscall_amd64.go.

// func sysRead(fd int, p unsafe.Pointer, n int) int
TEXT ·sysRead(SB), NOSPLIT, $0-32
	MOVQ fd+0(FP), DI
	MOVQ p+8(FP), SI
	MOVQ n+16(FP), DX
	BYTE $0xb8; LONG $0 // read; the assembler would make MOVL $0 an XORL
	SYSCALL
	MOVQ AX, ret+24(FP)
	RET

// func sysSend(fd int, p unsafe.Pointer, n, flags int) int
TEXT ·sysSend(SB), NOSPLIT, $0-40
	MOVQ fd+0(FP), DI
	MOVQ p+8(FP), SI
	MOVQ n+16(FP), DX
	MOVQ flags+24(FP), R10
	XORL R8, R8 // no address
	XORL R9, R9
	MOVL $44, AX // sendto
	SYSCALL
	MOVQ AX, ret+32(FP)
	RET

// func sysEpollWait(fd int, events unsafe.Pointer, n int) int
TEXT ·sysEpollWait(SB), NOSPLIT, $0-32
	MOVQ fd+0(FP), DI
	MOVQ events+8(FP), SI
	MOVQ n+16(FP), DX
	MOVQ $-1, R10 // no time limit
	XORL R8, R8   // signals stay as they are
	XORL R9, R9
	MOVL $281, AX // epoll_pwait
	SYSCALL
	MOVQ AX, ret+24(FP)
	RET
