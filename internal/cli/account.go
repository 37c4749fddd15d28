package cli

import (
	"context"
	"encoding/xml"
	"fmt"
	"net/http"
	"net/url"

	"github.com/spf13/cobra"
)

// accountRow is an account as the API shows it and -o json prints it.
type accountRow struct {
	ID      string `json:"AccountId"            xml:"AccountID"`
	Name    string `json:"AccountName"          xml:"AccountName"`
	Created string `json:"CreateDate,omitempty" xml:"CreateDate"`
}

func (a *app) account() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "account",
		Short: "Make and list accounts",
	}
	cmd.AddCommand(a.createAccount(), a.listAccounts())
	return cmd
}

func (a *app) createAccount() *cobra.Command {
	return &cobra.Command{
		Use:   "create NAME",
		Short: "Make an account and print its root user's access key",
		Long: `Makes an account with a number of its own, a root user and the role
hearth-function. Accounts share nothing but what their policies open.

The root user's key is printed here and never again: Hearth keeps it sealed.`,
		Example: `  hearth account create team-a
  hearth account create team-a -o json`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var out struct {
				Account accountRow `xml:"HearthCreateAccountResult>Account"`
				RootKey struct {
					AccessKeyID     string `json:"AccessKeyId"`
					SecretAccessKey string
				} `xml:"HearthCreateAccountResult>RootKey"`
			}
			if err := a.askIAM(cmd.Context(), "HearthCreateAccount", url.Values{"AccountName": args}, &out); err != nil {
				return err
			}
			fmt.Fprintln(cmd.ErrOrStderr(), "keep the secret: it is not shown again")
			return a.print(cmd, out, []string{"ACCOUNT", "NAME", "ACCESS KEY", "SECRET"},
				[][]string{{out.Account.ID, out.Account.Name, out.RootKey.AccessKeyID, out.RootKey.SecretAccessKey}})
		},
	}
}

func (a *app) listAccounts() *cobra.Command {
	return &cobra.Command{
		Use:   "ls",
		Short: "List accounts",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			all := []accountRow{}
			for form := (url.Values{}); ; {
				var page struct {
					Accounts []accountRow `xml:"HearthListAccountsResult>Accounts>member"`
					Marker   string       `xml:"HearthListAccountsResult>Marker"`
				}
				if err := a.askIAM(cmd.Context(), "HearthListAccounts", form, &page); err != nil {
					return err
				}
				all = append(all, page.Accounts...)
				if page.Marker == "" {
					break
				}
				form.Set("Marker", page.Marker)
			}
			var rows [][]string
			for _, r := range all {
				rows = append(rows, []string{r.ID, r.Name, r.Created})
			}
			return a.print(cmd, all, []string{"ACCOUNT", "NAME", "CREATED"}, rows)
		},
	}
}

// askIAM asks the running Hearth's identity service for an operation of its
// own, which no SDK knows.
func (a *app) askIAM(ctx context.Context, action string, form url.Values, out any) error {
	form.Set("Action", action)
	form.Set("Version", "2010-05-08")
	header := http.Header{"Content-Type": {"application/x-www-form-urlencoded; charset=utf-8"}}
	resp, err := a.post(ctx, "iam", header, []byte(form.Encode()))
	if err != nil {
		return err
	}
	if resp.code == http.StatusOK {
		return xml.Unmarshal(resp.body, out)
	}
	var e struct {
		Code    string `xml:"Error>Code"`
		Message string `xml:"Error>Message"`
	}
	if xml.Unmarshal(resp.body, &e) != nil || e.Message == "" {
		return fmt.Errorf("%s: %.500s", resp.status, resp.body)
	}
	return fmt.Errorf("%s: %s", e.Code, e.Message)
}
