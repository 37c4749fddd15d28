package cli

import (
	"context"
	"encoding/json"
	"net/http"
	"os"
	"strconv"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/spf13/cobra"

	"hearth/internal/kms"
)

func (a *app) key() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "key",
		Short: "Look after the keys that seal secrets",
	}
	cmd.AddCommand(a.rotateKeys())
	return cmd
}

func (a *app) rotateKeys() *cobra.Command {
	var master bool
	cmd := &cobra.Command{
		Use:   "rotate",
		Short: "Make new versions of the keys that seal secrets",
		Long: `Makes a new version of the account's key, and of the key that seals functions'
environment variables. What was sealed before can still be opened; the material
of keys is sealed anew at once, an environment when its function is next updated.

With --master, makes a new master key instead and wraps the keys of all accounts
by it. Back the file "keyring" of the data directory up afterwards.`,
		Example: `  hearth key rotate
  hearth key rotate --master`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var out kms.RotateKeysOutput
			if err := a.askKeys(cmd.Context(), "Hearth.RotateKeys", map[string]bool{"Master": master}, &out); err != nil {
				return err
			}
			rows := [][]string{}
			for _, row := range []struct {
				name    string
				version uint32
			}{{"master key", out.MasterKeyVersion}, {"account key", out.AccountKeyVersion}, {"alias/aws/lambda", out.LambdaKeyVersion}} {
				if row.version > 0 {
					rows = append(rows, []string{row.name, strconv.FormatUint(uint64(row.version), 10)})
				}
			}
			return a.print(cmd, out, []string{"KEY", "VERSION"}, rows)
		},
	}
	cmd.Flags().BoolVar(&master, "master", false, "rotate the master key, which wraps the keys of all accounts")
	return cmd
}

// askKeys asks the running Hearth's key service for an operation of its own,
// which no SDK knows.
func (a *app) askKeys(ctx context.Context, target string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	header := http.Header{"Content-Type": {"application/x-amz-json-1.1"}, "X-Amz-Target": {target}}
	resp, err := a.post(ctx, "kms", header, body)
	if err != nil {
		return err
	}
	return resp.decodeJSON(out)
}

// environmentCredentials are those of AWS's usual variables, or nil.
func environmentCredentials() aws.CredentialsProvider {
	c := aws.Credentials{
		AccessKeyID: os.Getenv("AWS_ACCESS_KEY_ID"), SecretAccessKey: os.Getenv("AWS_SECRET_ACCESS_KEY"),
		SessionToken: os.Getenv("AWS_SESSION_TOKEN"), Source: "environment",
	}
	if c.AccessKeyID == "" || c.SecretAccessKey == "" {
		return nil
	}
	return aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) { return c, nil })
}
