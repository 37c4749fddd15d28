// Command hearth-init is process 1 of every sandbox. See package guest.
package main

import (
	"flag"
	"fmt"
	"os"

	"hearth/internal/guest"
)

func main() {
	cfg := guest.DefaultConfig()
	flag.StringVar(&cfg.Control, "control", cfg.Control, "Unix `socket` of the worker")
	flag.StringVar(&cfg.API, "api", cfg.API, "`address` of the Runtime API")
	flag.StringVar(&cfg.RuntimeDir, "runtime", cfg.RuntimeDir, "`directory` of the runtime")
	flag.StringVar(&cfg.TaskDir, "task", cfg.TaskDir, "`directory` of the function's code")
	flag.StringVar(&cfg.OptDir, "opt", cfg.OptDir, "`directory` of the layers")
	flag.Parse()
	if err := guest.Run(cfg); err != nil {
		fmt.Fprintln(os.Stderr, "hearth-init:", err)
		os.Exit(1)
	}
}
