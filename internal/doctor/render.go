package doctor

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
)

// Write prints checks for a person: what is fine in one line each, and below
// each finding what mends it.
func Write(w io.Writer, checks []Check) error {
	width := 0
	for _, c := range checks {
		width = max(width, len(c.Name))
	}
	var b strings.Builder
	failed, warned := 0, 0
	for _, c := range checks {
		mark := "ok  "
		switch {
		case c.OK:
		case c.Fatal:
			mark = "FAIL"
			failed++
		default:
			mark = "warn"
			warned++
		}
		fmt.Fprintf(&b, "%s  %-*s  %s\n", mark, width, c.Name, oneLine(c.Detail))
		if !c.OK {
			fmt.Fprintf(&b, "      %-*s  mend it with: %s\n", width, "", c.Fix)
		}
	}
	switch {
	case failed > 0:
		fmt.Fprintf(&b, "\nHearth cannot run functions here yet: %d to mend, %d warnings.\n", failed, warned)
	case warned > 0:
		fmt.Fprintf(&b, "\nHearth can run here, with %d warnings.\n", warned)
	default:
		fmt.Fprintf(&b, "\nHearth can run here.\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// oneLine keeps errors that were joined from breaking the table.
func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }

// WriteJSON prints checks for a program, as {"ok": …, "checks": […]}.
func WriteJSON(w io.Writer, checks []Check) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(struct {
		OK     bool    `json:"ok"`
		Checks []Check `json:"checks"`
	}{!Fatal(checks), checks})
}
