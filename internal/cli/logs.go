package cli

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/spf13/cobra"

	"hearth/internal/datadir"
	"hearth/internal/logstore"
)

func (a *app) logs() *cobra.Command {
	var follow bool
	var since time.Duration
	var request string
	cmd := &cobra.Command{
		Use:   "logs NAME",
		Short: "Print a function's log",
		Example: `  hearth logs hello
  hearth logs hello -f --since 10m`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if _, err := datadir.Endpoint(a.data); errors.Is(err, datadir.ErrNotDataDir) {
				return err
			}
			var from time.Time
			if since > 0 {
				from = time.Now().Add(-since)
			}
			creds, err := datadir.LoadCredentials(a.data)
			if err != nil {
				return err
			}
			group := logstore.Group{Account: creds.AccountID, Name: a.logGroup(cmd.Context(), args[0])}
			reader := logstore.OpenReader(filepath.Join(a.data, "logs"))
			show := func(e logstore.Event) error {
				if request != "" && e.RequestID != request {
					return nil
				}
				_, err := fmt.Fprintf(cmd.OutOrStdout(), "%s %s\n", e.Time.UTC().Format("2006-01-02T15:04:05.000Z"), strings.TrimRight(e.Message, "\n"))
				return err
			}
			if follow {
				return unlessStopped(cmd.Context(), reader.Follow(cmd.Context(), group, from, show))
			}
			time.Sleep(logstore.Lag) // the answer of an invoke comes before its log is on disk
			events, err := reader.Read(cmd.Context(), group, logstore.Query{Since: from, RequestID: request})
			if err != nil {
				return err
			}
			for _, e := range events {
				if err := show(e); err != nil {
					return err
				}
			}
			return nil
		},
	}
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on printing what comes")
	cmd.Flags().DurationVar(&since, "since", 0, "only what is newer, for example 10m")
	cmd.Flags().StringVar(&request, "request-id", "", "only the lines of one invoke")
	return cmd
}

// unlessStopped forgets an error that is there because the user has pressed
// Ctrl-C, as one does to end a command that follows something.
func unlessStopped(ctx context.Context, err error) error {
	stopped := ctx.Err() != nil && errors.Is(err, context.Canceled)
	if !stopped {
		return err
	}
	return nil
}

// logGroup asks the running Hearth where the function logs to; without one, or
// after the function is gone, it is where functions log by default.
func (a *app) logGroup(ctx context.Context, name string) string {
	if client, err := a.lambda(); err == nil {
		out, err := client.GetFunctionConfiguration(ctx, &lambda.GetFunctionConfigurationInput{FunctionName: &name})
		if err == nil && out.LoggingConfig != nil {
			return aws.ToString(out.LoggingConfig.LogGroup)
		}
	}
	return "/aws/lambda/" + name
}
