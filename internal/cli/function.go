package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"
	"github.com/spf13/cobra"

	"hearth/internal/deploy"
)

// deployFlags are the settings of hearth deploy.
type deployFlags struct {
	name, runtime, handler, role string
	memory, timeout, storage     int32
	env                          []string
}

func (a *app) deploy() *cobra.Command {
	var f deployFlags
	cmd := &cobra.Command{
		Use:   "deploy DIR",
		Short: "Create or update a function from a directory",
		Long: `Detects the runtime (Python, Node.js, Go, or a ready bootstrap), builds and
zips the directory, and creates the function, or updates it if it exists.`,
		Example: `  hearth deploy examples/python-hello
  hearth deploy . --name api --memory 512 --env STAGE=dev`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			client, err := a.lambda()
			if err != nil {
				return err
			}
			return f.run(cmd, client, args[0])
		},
	}
	fs := cmd.Flags()
	fs.StringVar(&f.name, "name", "", "function name (default the directory's name)")
	fs.StringVar(&f.runtime, "runtime", "", "runtime (default detected)")
	fs.StringVar(&f.handler, "handler", "", "handler (default detected)")
	fs.StringVar(&f.role, "role", "arn:aws:iam::000000000000:role/hearth-function", "execution role")
	fs.Int32Var(&f.memory, "memory", 0, "MB of memory (default 128, or what it has)")
	fs.Int32Var(&f.timeout, "timeout", 0, "seconds an invoke may take (default 3, or what it has)")
	fs.Int32Var(&f.storage, "storage", 0, "MB of /tmp (default 512, or what it has)")
	fs.StringArrayVar(&f.env, "env", nil, "environment variable NAME=VALUE; may be repeated")
	return cmd
}

var notInNames = regexp.MustCompile(`[^A-Za-z0-9_-]+`)

func (f *deployFlags) run(cmd *cobra.Command, client *lambda.Client, dir string) error {
	if f.name == "" {
		abs, err := filepath.Abs(dir)
		if err != nil {
			return err
		}
		f.name = strings.Trim(notInNames.ReplaceAllString(filepath.Base(abs), "-"), "-")
	}
	env, err := f.variables()
	if err != nil {
		return err
	}
	pkg, err := deploy.Load(cmd.Context(), dir, f.runtime, f.handler)
	if err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "%s: %s, handler %s, %d files, %.1f KB zipped\n", f.name, pkg.Runtime, pkg.Handler, pkg.Files, float64(len(pkg.Zip))/1024)
	ctx := cmd.Context()
	begun := time.Now()
	_, err = client.GetFunctionConfiguration(ctx, &lambda.GetFunctionConfigurationInput{FunctionName: &f.name})
	var missing *types.ResourceNotFoundException
	verb := "updated"
	switch {
	case errors.As(err, &missing):
		verb = "created"
		err = f.create(ctx, client, pkg, env)
	case err == nil:
		err = f.update(ctx, client, pkg, env)
	}
	if err != nil {
		return say(err)
	}
	out, err := wait(ctx, client, f.name)
	if err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "%s in %.1f s\n", verb, time.Since(begun).Seconds())
	fmt.Fprintln(cmd.OutOrStdout(), aws.ToString(out.FunctionArn))
	return nil
}

func (f *deployFlags) variables() (*types.Environment, error) {
	if f.env == nil {
		return nil, nil
	}
	vars := map[string]string{}
	for _, kv := range f.env {
		name, value, ok := strings.Cut(kv, "=")
		if !ok || name == "" {
			return nil, fmt.Errorf("environment variable %q: want NAME=VALUE", kv)
		}
		vars[name] = value
	}
	return &types.Environment{Variables: vars}, nil
}

// number is nil for a setting that was not given.
func number(v int32) *int32 {
	if v == 0 {
		return nil
	}
	return &v
}

func (f *deployFlags) ephemeral() *types.EphemeralStorage {
	if f.storage == 0 {
		return nil
	}
	return &types.EphemeralStorage{Size: &f.storage}
}

func (f *deployFlags) create(ctx context.Context, client *lambda.Client, pkg *deploy.Package, env *types.Environment) error {
	_, err := client.CreateFunction(ctx, &lambda.CreateFunctionInput{
		FunctionName: &f.name, Role: &f.role, Runtime: types.Runtime(pkg.Runtime), Handler: &pkg.Handler,
		Code: &types.FunctionCode{ZipFile: pkg.Zip}, Environment: env,
		MemorySize: number(f.memory), Timeout: number(f.timeout), EphemeralStorage: f.ephemeral(),
	})
	return err
}

func (f *deployFlags) update(ctx context.Context, client *lambda.Client, pkg *deploy.Package, env *types.Environment) error {
	if _, err := client.UpdateFunctionCode(ctx, &lambda.UpdateFunctionCodeInput{FunctionName: &f.name, ZipFile: pkg.Zip}); err != nil {
		return err
	}
	if _, err := wait(ctx, client, f.name); err != nil {
		return err
	}
	_, err := client.UpdateFunctionConfiguration(ctx, &lambda.UpdateFunctionConfigurationInput{
		FunctionName: &f.name, Runtime: types.Runtime(pkg.Runtime), Handler: &pkg.Handler, Environment: env,
		MemorySize: number(f.memory), Timeout: number(f.timeout), EphemeralStorage: f.ephemeral(),
	})
	return err
}

// wait polls until the function is usable; the first function of a runtime
// waits for its image to be built, which may take minutes.
func wait(ctx context.Context, client *lambda.Client, name string) (*lambda.GetFunctionConfigurationOutput, error) {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	begun, told := time.Now(), false
	for {
		out, err := client.GetFunctionConfiguration(ctx, &lambda.GetFunctionConfigurationInput{FunctionName: &name})
		if err != nil {
			return nil, say(err)
		}
		switch {
		case out.LastUpdateStatus == types.LastUpdateStatusInProgress || out.State == types.StatePending:
		case out.State == types.StateFailed:
			return nil, fmt.Errorf("the function could not be made ready: %s", aws.ToString(out.StateReason))
		case out.LastUpdateStatus == types.LastUpdateStatusFailed:
			return nil, fmt.Errorf("the update failed, the function runs on as it was: %s", aws.ToString(out.LastUpdateStatusReason))
		default:
			return out, nil
		}
		if !told && time.Since(begun) > 2*time.Second {
			told = true
			fmt.Fprintln(os.Stderr, "waiting: the first function of a runtime waits until its image is built (once, a minute or two)")
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

func (a *app) list() *cobra.Command {
	return &cobra.Command{
		Use:     "ls",
		Aliases: []string{"list"},
		Short:   "List functions",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, err := a.lambda()
			if err != nil {
				return err
			}
			all := []types.FunctionConfiguration{}
			var rows [][]string
			pages := lambda.NewListFunctionsPaginator(client, &lambda.ListFunctionsInput{})
			for pages.HasMorePages() {
				page, err := pages.NextPage(cmd.Context())
				if err != nil {
					return say(err)
				}
				all = append(all, page.Functions...)
			}
			for _, f := range all {
				rows = append(rows, []string{
					aws.ToString(f.FunctionName), string(f.Runtime), aws.ToString(f.Handler),
					strconv.Itoa(int(aws.ToInt32(f.MemorySize))), strconv.Itoa(int(aws.ToInt32(f.Timeout))), aws.ToString(f.LastModified),
				})
			}
			return a.print(cmd, all, []string{"NAME", "RUNTIME", "HANDLER", "MB", "SECONDS", "LAST MODIFIED"}, rows)
		},
	}
}

func (a *app) remove() *cobra.Command {
	return &cobra.Command{
		Use:   "rm NAME...",
		Short: "Delete functions",
		Args:  cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			client, err := a.lambda()
			if err != nil {
				return err
			}
			for _, name := range args {
				if _, err := client.DeleteFunction(cmd.Context(), &lambda.DeleteFunctionInput{FunctionName: &name}); err != nil {
					return say(err)
				}
				fmt.Fprintln(os.Stderr, "deleted", name)
			}
			return nil
		},
	}
}
