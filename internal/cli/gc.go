package cli

import (
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"hearth/internal/garbage"
)

func (a *app) gc() *cobra.Command {
	var o garbage.Options
	cmd := &cobra.Command{
		Use:   "gc",
		Short: "Free the chunks that no function needs any more",
		Long: `Runs a cycle of the garbage collector now; hearth up runs them by itself.

Chunks are in roots. When the time of the active root is over (hearth up
--gc-rotation) a new one begins, and what live functions need is copied to it. A
root that nothing needs any more expires, and is deleted after a while
(--gc-expiry). Space is therefore free two cycles and that while after the
functions are gone; the copies need space before.

A root that is read after it has expired raises an alarm: something still needed
it, which is a fault in Hearth. Nothing is deleted from then on. When the cause is
known, --go-on has the roots expire once more.`,
		Example: `  hearth gc
  hearth gc --rotate`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var r garbage.Report
			if err := a.operate(cmd.Context(), "CollectGarbage", o, &r); err != nil {
				return err
			}
			return a.printGarbage(cmd, &r)
		},
	}
	cmd.Flags().BoolVar(&o.Rotate, "rotate", false, "begin a new root though it is not time, to free space sooner: copies all that is live")
	cmd.Flags().BoolVar(&o.GoOn, "go-on", false, "take back the alarms")
	return cmd
}

// printGarbage shows what a cycle has done; an alarm is an error.
func (a *app) printGarbage(cmd *cobra.Command, r *garbage.Report) error {
	var rows [][]string
	for _, root := range r.Roots {
		rows = append(rows, []string{root.ID.String(), string(root.State), root.Since.UTC().Format(time.RFC3339)})
	}
	if err := a.print(cmd, r, []string{"ROOT", "STATE", "SINCE"}, rows); err != nil {
		return err
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "volumes moved: %d (%d bytes stored), roots deleted: %d (%d chunks, %d bytes)\n",
		r.Moved, r.MovedBytes, r.Deleted, r.Chunks, r.Bytes)
	var problems []error
	if r.Unmoved > 0 {
		problems = append(problems, fmt.Errorf("%d volumes could not be moved, their root stays; Hearth's log says why", r.Unmoved))
	}
	if len(r.Alarms) > 0 {
		problems = append(problems, fmt.Errorf(
			"roots %v were read though nothing should need them: nothing is deleted; see Hearth's log, then run: hearth gc --go-on", r.Alarms))
	}
	return errors.Join(problems...)
}
