package cli

import (
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"
	"github.com/spf13/cobra"
)

func (a *app) invoke() *cobra.Command {
	var payload string
	var tail, timeline bool
	cmd := &cobra.Command{
		Use:   "invoke NAME",
		Short: "Invoke a function and print its answer",
		Example: `  hearth invoke hello --payload '{"name":"you"}'
  hearth invoke hello --payload @event.json --tail --timeline`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			event, err := readPayload(cmd.InOrStdin(), payload)
			if err != nil {
				return err
			}
			client, err := a.lambda()
			if err != nil {
				return err
			}
			in := &lambda.InvokeInput{FunctionName: &args[0], Payload: event}
			if tail {
				in.LogType = types.LogTypeTail
			}
			var timing string
			out, err := client.Invoke(cmd.Context(), in, func(o *lambda.Options) {
				o.APIOptions = append(o.APIOptions, captureHeader("Server-Timing", &timing))
			})
			if err != nil {
				return say(err)
			}
			fmt.Fprintln(cmd.OutOrStdout(), string(out.Payload))
			if tail {
				log, err := base64.StdEncoding.DecodeString(aws.ToString(out.LogResult))
				if err != nil {
					return fmt.Errorf("the answer's log: %w", err)
				}
				fmt.Fprint(os.Stderr, string(log))
			}
			if timeline {
				printTimeline(os.Stderr, timing)
			}
			if out.FunctionError != nil {
				return exitError(2) // the function failed; its error is printed
			}
			return nil
		},
	}
	cmd.Flags().StringVarP(&payload, "payload", "p", "", "the event as JSON, @FILE, or - for stdin")
	cmd.Flags().BoolVar(&tail, "tail", false, "print the end of the invoke's log to stderr")
	cmd.Flags().BoolVar(&timeline, "timeline", false, "print where the time went to stderr")
	return cmd
}

func readPayload(stdin io.Reader, arg string) ([]byte, error) {
	switch {
	case arg == "":
		return nil, nil
	case arg == "-":
		return io.ReadAll(stdin)
	case strings.HasPrefix(arg, "@"):
		return os.ReadFile(arg[1:])
	}
	return []byte(arg), nil
}

// captureHeader keeps one header of the answer.
func captureHeader(name string, to *string) func(*middleware.Stack) error {
	return func(s *middleware.Stack) error {
		return s.Deserialize.Add(headerCapture{name: name, to: to}, middleware.Before)
	}
}

type headerCapture struct {
	name string
	to   *string
}

func (c headerCapture) ID() string { return "capture " + c.name }

func (c headerCapture) HandleDeserialize(
	ctx context.Context, in middleware.DeserializeInput, next middleware.DeserializeHandler,
) (middleware.DeserializeOutput, middleware.Metadata, error) {
	out, meta, err := next.HandleDeserialize(ctx, in)
	if res, ok := out.RawResponse.(*smithyhttp.Response); ok {
		*c.to = res.Header.Get(c.name)
	}
	return out, meta, err
}

// steps explains the names in the Server-Timing header, in order of time.
var steps = []struct{ name, meaning string }{
	{"count", "admission by counting"},
	{"assign", "getting an environment from assignment"},
	{"boot", "  of it: a booted sandbox"},
	{"handover", "  of it: code, /tmp and limits handed over"},
	{"init", "  of it: runtime and function initialised"},
	{"run", "running the function"},
}

// printTimeline draws the waterfall that the Server-Timing header holds.
func printTimeline(w io.Writer, header string) {
	durations := map[string]float64{}
	longest := 0.0
	for entry := range strings.SplitSeq(header, ",") {
		name, rest, _ := strings.Cut(strings.TrimSpace(entry), ";")
		if ms, err := strconv.ParseFloat(strings.TrimPrefix(rest, "dur="), 64); err == nil {
			durations[name] = ms
			longest = max(longest, ms)
		}
	}
	if longest == 0 {
		return
	}
	fmt.Fprintln(w, "where the time went:")
	for _, s := range steps {
		ms, ok := durations[s.name]
		if !ok {
			continue
		}
		bar := strings.Repeat("█", int(ms/longest*32+0.5))
		fmt.Fprintf(w, "  %-42s %9.3f ms  %s\n", s.meaning, ms, bar)
	}
}
