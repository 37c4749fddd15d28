package managedruntime

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"hearth/runtimes"
)

// MirrorEnv names the variable that sets where Debian's packages come from.
const MirrorEnv = "HEARTH_DEBIAN_MIRROR"

// mergedUsr makes the links that Debian's packages expect to find, before
// they are unpacked.
const mergedUsr = `cd "$1" && mkdir -p usr/bin usr/sbin usr/lib usr/lib64 && ` +
	`ln -s usr/bin bin && ln -s usr/sbin sbin && ln -s usr/lib lib && ln -s usr/lib64 lib64`

// unpackDebian unpacks the recipe's packages and their dependencies into
// root, and returns what it unpacked. Packages are verified by apt with the
// machine's trusted keys. No maintainer script runs.
func unpackDebian(ctx context.Context, r runtimes.Recipe, tmp, root string) ([]string, error) {
	list := filepath.Join(tmp, "packages")
	args := []string{
		"--mode=root", "--variant=extract", "--format=directory",
		"--include=" + strings.Join(r.Packages, ","),
		"--setup-hook=" + mergedUsr,
		"--extract-hook=cd \"$1/var/cache/apt/archives\" && ls *.deb > '" + list + "'",
		r.Suite, root,
	}
	if mirror := os.Getenv(MirrorEnv); mirror != "" {
		args = append(args, mirror)
	} else {
		// None at all leaves the choice to mmdebstrap: Debian's own.
		args = append(args, hostSources(r.Suite)...)
	}
	err := run(ctx, command{name: "mmdebstrap", args: args, pkg: "mmdebstrap", dir: "/",
		hint: "packages come from this machine's apt sources: see whether `apt-get update` works, or set " + MirrorEnv + " to a mirror"})
	if err != nil {
		return nil, err
	}
	text, err := os.ReadFile(list)
	if err != nil {
		return nil, fmt.Errorf("list of packages: %w", err)
	}
	packages := strings.Fields(strings.ReplaceAll(string(text), ".deb\n", "\n"))
	slices.Sort(packages)
	return packages, nil
}

// hostSources returns those of the machine's apt sources that serve a suite,
// its updates and its security updates, each as a line of sources.list.
// Others (of other vendors, say) have no place in an image.
func hostSources(suite string) []string {
	var lines []string
	paths, _ := filepath.Glob("/etc/apt/sources.list.d/*")
	for _, path := range append([]string{"/etc/apt/sources.list"}, paths...) {
		text, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		switch filepath.Ext(path) {
		case ".list":
			lines = append(lines, oneLineSources(string(text), suite)...)
		case ".sources":
			lines = append(lines, deb822Sources(string(text), suite)...)
		}
	}
	if !slices.ContainsFunc(lines, func(l string) bool { return strings.Contains(l, " "+suite+" main") }) {
		return nil // another release, or another system
	}
	return lines
}

// wanted says whether an apt source is part of a Debian suite.
func wanted(suite, candidate string, components []string) bool {
	return slices.Contains([]string{suite, suite + "-updates", suite + "-security"}, candidate) &&
		slices.Contains(components, "main")
}

// oneLineSources picks from the format "deb [options] uri suite component…".
func oneLineSources(text, suite string) []string {
	var lines []string
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "#")
		rest, ok := strings.CutPrefix(strings.TrimSpace(line), "deb ")
		if !ok {
			continue
		}
		options := ""
		rest = strings.TrimSpace(rest)
		if strings.HasPrefix(rest, "[") {
			end := strings.IndexByte(rest, ']')
			if end < 0 {
				continue
			}
			options, rest = rest[:end+1]+" ", rest[end+1:]
		}
		if f := strings.Fields(rest); len(f) >= 3 && wanted(suite, f[1], f[2:]) {
			lines = append(lines, "deb "+options+f[0]+" "+f[1]+" main")
		}
	}
	return lines
}

// deb822Sources picks from the format of stanzas of fields.
func deb822Sources(text, suite string) []string {
	var lines []string
	for stanza := range strings.SplitSeq(stripComments(text), "\n\n") {
		field := parseStanza(stanza)
		if !slices.Contains(strings.Fields(field["types"]), "deb") || strings.EqualFold(field["enabled"], "no") {
			continue
		}
		options := ""
		// A key given in place has no form in one line; apt's trusted keys
		// must do then.
		if by := field["signed-by"]; strings.HasPrefix(by, "/") {
			options = "[signed-by=" + strings.Join(strings.Fields(by), ",") + "] "
		}
		for uri := range strings.FieldsSeq(field["uris"]) {
			for s := range strings.FieldsSeq(field["suites"]) {
				if wanted(suite, s, strings.Fields(field["components"])) {
					lines = append(lines, "deb "+options+uri+" "+s+" main")
				}
			}
		}
	}
	return lines
}

// stripComments removes whole-line comments, which may stand inside a field.
func stripComments(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, "#") {
			b.WriteString(strings.TrimRight(line, " \t\r\n") + "\n")
		}
	}
	return b.String()
}

// parseStanza returns the fields of a stanza by lower-case name, lines that
// continue one joined by spaces.
func parseStanza(stanza string) map[string]string {
	fields := make(map[string]string)
	name := ""
	for line := range strings.Lines(stanza) {
		if strings.HasPrefix(line, " ") || strings.HasPrefix(line, "\t") {
			fields[name] += " " + strings.TrimSpace(line)
			continue
		}
		key, value, ok := strings.Cut(line, ":")
		if ok {
			name = strings.ToLower(strings.TrimSpace(key))
			fields[name] = strings.TrimSpace(value)
		}
	}
	return fields
}
