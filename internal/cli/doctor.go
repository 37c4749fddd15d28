package cli

import (
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"hearth/internal/cluster"
	"hearth/internal/doctor"
)

func (a *app) doctor() *cobra.Command {
	o := doctor.Options{}
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Check whether this machine can run Hearth",
		Long: `Looks at what Hearth needs of the machine. Each check that fails comes with the
command that mends it; the status is 1 if functions cannot run here.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.DataDir = a.data
			self, err := os.Executable()
			if err != nil {
				return err
			}
			for path, name := range map[*string]string{&o.Runsc: "runsc", &o.Init: "hearth-init"} {
				if *path == "" {
					*path = filepath.Join(filepath.Dir(self), name)
				}
			}
			checks := doctor.Run(cmd.Context(), o)
			write := doctor.Write
			if a.output == "json" {
				write = doctor.WriteJSON
			}
			if err := write(cmd.OutOrStdout(), checks); err != nil {
				return err
			}
			if doctor.Fatal(checks) {
				return exitError(1)
			}
			return nil
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.Listen, "listen", cluster.DefaultListen, "address that hearth up is to serve at")
	f.BoolVar(&o.Egress, "egress", false, "functions are to reach the outside world")
	f.StringVar(&o.Runsc, "runsc", "", "the sandbox runtime (default runsc beside this program)")
	f.StringVar(&o.Init, "init", "", "process 1 of sandboxes (default hearth-init beside this program)")
	return cmd
}
