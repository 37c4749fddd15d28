package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/smithy-go"
	"github.com/spf13/cobra"

	"hearth/internal/cluster"
	"hearth/internal/datadir"
	"hearth/internal/sigv4"
)

// account is a running Hearth and the keys to it.
type account struct {
	url   string
	creds datadir.Credentials
}

// connect finds the Hearth that serves from the data directory.
func (a *app) connect() (account, error) {
	url, err := datadir.Endpoint(a.data)
	if err != nil {
		return account{}, err
	}
	creds, err := datadir.LoadCredentials(a.data)
	return account{url: url, creds: creds}, err
}

// region is the region that a client signs for.
func region() string {
	if r := os.Getenv("AWS_REGION"); r != "" {
		return r
	}
	return cluster.DefaultRegion
}

// lambda makes a client of the running Hearth's Lambda API.
func (a *app) lambda() (*lambda.Client, error) {
	acc, err := a.connect()
	if err != nil {
		return nil, err
	}
	return lambda.New(lambda.Options{
		BaseEndpoint: &acc.url,
		Region:       region(),
		// A function may run for 15 minutes before it answers.
		HTTPClient: &http.Client{Timeout: 16 * time.Minute},
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: acc.creds.AccessKeyID, SecretAccessKey: acc.creds.SecretAccessKey}, nil
		}),
	}), nil
}

// answer is what the running Hearth says to a request of post.
type answer struct {
	code   int
	status string // the code and its name
	header http.Header
	body   []byte
}

// post sends the running Hearth a signed request that no SDK makes and that is
// answered soon.
func (a *app) post(ctx context.Context, service string, header http.Header, body []byte) (*answer, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	return a.postPatiently(ctx, service, header, body)
}

// postPatiently is post for what may take as long as it takes.
func (a *app) postPatiently(ctx context.Context, service string, header http.Header, body []byte) (*answer, error) {
	acc, err := a.connect()
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, acc.url+"/", bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header = header
	now := time.Now()
	scope := sigv4.Scope{Date: now.UTC().Format("20060102"), Region: region(), Service: service}
	if err := sigv4.Sign(ctx, req, acc.creds.AccessKeyID, acc.creds.SecretAccessKey, scope, body, now); err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	got, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	return &answer{resp.StatusCode, resp.Status, resp.Header, got}, errors.Join(err, resp.Body.Close())
}

// operate has the running Hearth do one of its operator's operations.
func (a *app) operate(ctx context.Context, operation string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	header := http.Header{"Content-Type": {"application/x-amz-json-1.1"}, "X-Amz-Target": {"Hearth." + operation}}
	resp, err := a.postPatiently(ctx, "hearth", header, body)
	if err != nil {
		return err
	}
	return resp.decodeJSON(out)
}

// decodeJSON reads an answer in AWS's JSON protocol 1.1: a result, or an error.
func (a *answer) decodeJSON(out any) error {
	if a.code == http.StatusOK {
		return json.Unmarshal(a.body, out)
	}
	var e struct {
		Type    string `json:"__type"`
		Message string `json:"message"`
	}
	if json.Unmarshal(a.body, &e) != nil || e.Message == "" {
		return fmt.Errorf("%s: %.500s", a.status, a.body)
	}
	if e.Type == "" {
		e.Type = a.header.Get("X-Amzn-Errortype")
	}
	return fmt.Errorf("%s: %s", e.Type, e.Message)
}

// say turns an API error into AWS's own words, without the SDK's wrapping.
func say(err error) error {
	if e, ok := errors.AsType[smithy.APIError](err); ok {
		return fmt.Errorf("%s: %s", e.ErrorCode(), e.ErrorMessage())
	}
	return err
}

func (a *app) env() *cobra.Command {
	return &cobra.Command{
		Use:   "env",
		Short: "Print shell variables that point AWS tools at this Hearth",
		Example: `  eval "$(hearth env)"
  aws lambda list-functions`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			acc, err := a.connect()
			if err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), `export AWS_ENDPOINT_URL=%s
export AWS_ACCESS_KEY_ID=%s
export AWS_SECRET_ACCESS_KEY=%s
export AWS_REGION=%s
export AWS_DEFAULT_REGION=%s
export AWS_DISABLE_HOST_PREFIX_INJECTION=true
unset AWS_SESSION_TOKEN AWS_PROFILE
`, acc.url, acc.creds.AccessKeyID, acc.creds.SecretAccessKey, region(), region())
			return nil
		},
	}
}

// print writes a listing as the output flag says.
func (a *app) print(cmd *cobra.Command, value any, header []string, rows [][]string) error {
	out := cmd.OutOrStdout()
	if a.output == "json" {
		enc := json.NewEncoder(out)
		enc.SetIndent("", "  ")
		return enc.Encode(value)
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, strings.Join(header, "\t"))
	for _, row := range rows {
		fmt.Fprintln(w, strings.Join(row, "\t"))
	}
	return w.Flush()
}
