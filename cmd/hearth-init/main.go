// At its start Go's runtime names its mappings, and reads files to learn its
// share of the processors: forty system calls, for which every boot would wait.
//
//go:debug decoratemappings=0
//go:debug containermaxprocs=0
//go:debug updatemaxprocs=0

// Command hearth-init is process 1 of every sandbox. See package guest.
package main

import (
	"flag"
	"fmt"
	"os"
	"runtime"

	"hearth/internal/guest"
)

func main() {
	// The poller relies on it, see there. There is nothing to do in parallel.
	// The collector stays as it is: an invoke leaves about 1 KiB, so that it
	// runs once in some thousand.
	runtime.GOMAXPROCS(1)
	cfg := guest.DefaultConfig()
	flag.StringVar(&cfg.Control, "control", cfg.Control, "Unix `socket` of the worker")
	flag.StringVar(&cfg.API, "api", cfg.API, "`address` of the Runtime API")
	flag.StringVar(&cfg.Endpoint, "endpoint", cfg.Endpoint, "`address` of Hearth's API for the function")
	flag.StringVar(&cfg.RuntimeDir, "runtime", cfg.RuntimeDir, "`directory` of the runtime")
	flag.StringVar(&cfg.TaskDir, "task", cfg.TaskDir, "`directory` of the function's code")
	flag.StringVar(&cfg.OptDir, "opt", cfg.OptDir, "`directory` of the layers")
	flag.Parse()
	if err := guest.Run(cfg); err != nil {
		fmt.Fprintln(os.Stderr, "hearth-init:", err)
		os.Exit(1)
	}
}
