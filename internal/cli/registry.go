package cli

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"hearth/internal/datadir"
	"hearth/internal/registry"
)

func (a *app) registry() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "registry",
		Short: "Use Hearth's container registry",
	}
	cmd.AddCommand(a.registryToken())
	return cmd
}

func (a *app) registryToken() *cobra.Command {
	return &cobra.Command{
		Use:   "token",
		Short: "Print what container tools log in to Hearth with",
		Long: `Prints an access key's id and secret in base64: the password of user AWS, and
what config.json of docker has as "auth". It is a secret as the key is, and as
long-lived.

The key is that of AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (and
AWS_SESSION_TOKEN), if they are set, or else the data directory's.`,
		Example: `  hearth registry token | docker login --username AWS --password-stdin localhost:4566
  crane auth login localhost:4566 -u AWS -p "$(hearth registry token)"`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			id, secret, session := os.Getenv("AWS_ACCESS_KEY_ID"), os.Getenv("AWS_SECRET_ACCESS_KEY"), os.Getenv("AWS_SESSION_TOKEN")
			if id == "" || secret == "" {
				c, err := datadir.LoadCredentials(a.data)
				if err != nil {
					return err
				}
				id, secret, session = c.AccessKeyID, c.SecretAccessKey, ""
			}
			fmt.Fprintln(cmd.OutOrStdout(), registry.Token(id, secret, session))
			return nil
		},
	}
}
