// Package osthread is for what Linux keeps per thread. It runs code on an
// operating system thread of its own (namespaces, version 1 control groups,
// scheduling of what is forked), and sets the timer slack of all.
package osthread

import (
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// Run runs do on a thread that ends with it, so that whatever do changes about
// its thread concerns nothing else.
func Run(do func() error) error {
	result := make(chan error, 1)
	go func() {
		// Returning while locked makes the Go runtime destroy the thread.
		runtime.LockOSThread()
		if unix.Gettid() != os.Getpid() {
			result <- do()
			return
		}
		// The process's first thread the runtime can only park, so that one
		// must not be changed. Held here, it cannot be given to us again.
		defer runtime.UnlockOSThread()
		result <- Run(do)
	}()
	return <-result
}
