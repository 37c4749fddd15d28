package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"hearth/internal/audit"
	"hearth/internal/datadir"
)

func (a *app) audit() *cobra.Command {
	var denied bool
	var since time.Duration
	var principal, action, resource string
	cmd := &cobra.Command{
		Use:   "audit",
		Short: "Print who asked for what, and whether and why it was allowed",
		Example: `  hearth audit --denied --since 1h
  hearth audit --action lambda:DeleteFunction -o json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if _, err := datadir.Endpoint(a.data); errors.Is(err, datadir.ErrNotDataDir) {
				return err
			}
			var from time.Time
			if since > 0 {
				from = time.Now().Add(-since)
			}
			show := func(e audit.Event) error {
				if denied && e.Allowed || !strings.Contains(e.Principal, principal) ||
					!strings.Contains(strings.ToLower(e.Action), strings.ToLower(action)) || !strings.Contains(e.Resource, resource) {
					return nil
				}
				if a.output == "json" {
					return json.NewEncoder(cmd.OutOrStdout()).Encode(e) //nolint:gosec // an access key's id is no secret
				}
				_, err := fmt.Fprintln(cmd.OutOrStdout(), auditLine(e))
				return err
			}
			unreadable, err := audit.Read(filepath.Join(a.data, "audit"), from, show)
			if unreadable > 0 {
				_, _ = fmt.Fprintf(cmd.ErrOrStderr(), "%d lines cannot be read: a crash cut them short, or they were changed\n", unreadable)
			}
			return err
		},
	}
	cmd.Flags().BoolVar(&denied, "denied", false, "only what was refused")
	cmd.Flags().DurationVar(&since, "since", 0, "only what is newer, for example 1h")
	cmd.Flags().StringVar(&principal, "principal", "", "only principals whose ARN contains this")
	cmd.Flags().StringVar(&action, "action", "", "only actions that contain this, for example lambda:Delete")
	cmd.Flags().StringVar(&resource, "resource", "", "only resources whose ARN contains this")
	return cmd
}

// auditLine is a decision for people.
func auditLine(e audit.Event) string {
	verdict := "DENY "
	if e.Allowed {
		verdict = "allow"
	}
	who := e.Principal
	if who == "" {
		who = "nobody known"
		if e.AccessKey != "" {
			who = "access key " + e.AccessKey
		}
	}
	line := e.Time.UTC().Format("2006-01-02T15:04:05Z") + " " + verdict + " " + who + " " + e.Action
	if e.Resource != "" {
		line += " on " + e.Resource
	}
	if e.SourceIP != "" {
		line += " from " + e.SourceIP
	}
	if e.By != "" {
		line += " (" + e.By + ")"
	}
	if e.Dropped > 0 {
		line += fmt.Sprintf(" [%d lines before this one were dropped]", e.Dropped)
	}
	return line
}
