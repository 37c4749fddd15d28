// Package cli is the hearth command: the server, and a client of its API for
// people. Data goes to stdout, talk to stderr, and every error ends with what
// to do next.
package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

// Version is the release; the build sets it.
var Version = "dev"

// defaultData is where a Hearth keeps its data unless told otherwise.
const defaultData = "/var/lib/hearth"

// app is what the commands share.
type app struct {
	data   string // --data
	output string // --output
}

// exitError ends the program with a status and nothing more to say.
type exitError int

func (e exitError) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

// Main runs the command line and returns the exit status.
func Main() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := newRoot().ExecuteContext(ctx)
	var exit exitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		return int(exit)
	}
	fmt.Fprintln(os.Stderr, "hearth:", err)
	return 1
}

func newRoot() *cobra.Command {
	a := &app{}
	root := &cobra.Command{
		Use:   "hearth",
		Short: "AWS Lambda that you run yourself",
		Long: `Hearth is AWS Lambda that you run yourself: the same API, and functions in
strong sandboxes. Start it with "hearth up"; any AWS tool then works after
eval "$(hearth env)".`,
		Version:       Version,
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	data := os.Getenv("HEARTH_DATA")
	if data == "" {
		data = defaultData
	}
	root.PersistentFlags().StringVar(&a.data, "data", data, "data directory (env HEARTH_DATA)")
	root.PersistentFlags().StringVarP(&a.output, "output", "o", "table", "output of listing commands: table or json")
	root.PersistentPreRunE = func(*cobra.Command, []string) error {
		if a.output != "table" && a.output != "json" {
			return fmt.Errorf("output %q: want table or json", a.output)
		}
		return nil
	}
	root.AddCommand(
		a.up(), a.down(), a.env(), a.deploy(), a.invoke(), a.logs(), a.list(), a.remove(),
		a.runtimes(), a.doctor(), a.bench(), a.audit(), a.account(), a.key(), a.registry(), a.image(), a.gc(), a.chunks(), a.cache(), a.blockfs(),
		a.serveNode(), a.chaos(),
	)
	return root
}
