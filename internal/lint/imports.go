package lint

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

const module = "hearth/"

// A layer is a set of packages at the same height: they import packages of
// the layers before theirs, never of those after it.
type layer struct {
	name     string
	packages []string
	// apart says that packages of this layer do not import each other either.
	apart bool
}

// layers is the whole architecture, lowest first. A name ending in "/..." is
// a directory and all below it. What is listed by name takes precedence.
var layers = []layer{
	{name: "leaf", packages: []string{
		"internal/arn", "internal/awserr", "internal/awsid", "internal/awsquery", "internal/chunk", "internal/codesigning",
		"internal/controlstream", "internal/environment",
		"internal/function", "internal/invocation", "internal/layer", "internal/ociname", "internal/rootdir/...",
		"internal/sandbox", "internal/sigv4",
	}},
	// domain packages know one thing of the machine or of a format each.
	{name: "domain", packages: []string{
		"internal/archive/...", "internal/artifact", "internal/audit", "internal/blockfs", "internal/ca", "internal/catalog", "internal/cgroup",
		"internal/chunkstore/...", "internal/datadir",
		"internal/deploy", "internal/doctor", "internal/etcd", "internal/eventfilter",
		"internal/eventsource", "internal/flatten", "internal/functionurl", "internal/guest/...", "internal/journal", "internal/keyring", "internal/lint",
		"internal/logfilter", "internal/logstore", "internal/managedruntime", "internal/mount",
		"internal/netns", "internal/objectstore", "internal/ociimage", "internal/osthread", "internal/outbound", "internal/policy",
		"internal/rpc", "internal/s3", "internal/sandbox/...", "internal/scratch", "internal/table",
		"internal/volume", "internal/volumefs", "internal/webidentity", "runtimes",
	}},
	// Services meet only through interfaces that the caller owns: each can
	// become a process, and most will.
	{name: "service", apart: true, packages: []string{
		"internal/api", "internal/assignment", "internal/control", "internal/counting",
		"internal/frontend", "internal/garbage", "internal/iam", "internal/kms", "internal/logsapi", "internal/placement",
		"internal/registry", "internal/worker",
	}},
	{name: "wiring", packages: []string{"internal/cluster", "internal/sim", "internal/wire", "internal/zones"}},
	{name: "command", packages: []string{"internal/bench", "internal/cli"}},
	{name: "program", packages: []string{
		"cmd/...", "examples/...", "test/...", "internal/api/constraintgen", "internal/api/operationgen",
	}},
}

// layerOf returns the index of the layer that a package of the module is in,
// or -1. The name that says most wins.
func layerOf(pkg string) int {
	best, length := -1, -1
	for i, l := range layers {
		for _, name := range l.packages {
			dir, tree := strings.CutSuffix(name, "/...")
			if pkg != name && (!tree || pkg != dir && !strings.HasPrefix(pkg, dir+"/")) {
				continue
			}
			if size := len(dir); size > length || size == length && !tree {
				best, length = i, size
			}
		}
	}
	return best
}

// CheckImports finds imports that do not point down. Tests may import what
// they like: they put real things together.
func CheckImports(packages []Package) []string {
	var findings []string
	for _, p := range packages {
		from := strings.TrimPrefix(p.ImportPath, module)
		at := layerOf(from)
		if at < 0 {
			findings = append(findings, from+": in no layer; give it its place in internal/lint/imports.go")
			continue
		}
		for _, imported := range p.Imports {
			to, ours := strings.CutPrefix(imported, module)
			if !ours {
				continue
			}
			switch below := layerOf(to); {
			case below > at:
				findings = append(findings, fmt.Sprintf("%s (%s) imports %s (%s): imports point down", from, layers[at].name, to, layers[below].name))
			case below == at && layers[at].apart:
				findings = append(findings, fmt.Sprintf("%s imports %s: a %s talks to another through an interface of its own", from, to, layers[at].name))
			}
		}
	}
	return findings
}

// forbidden names what must not be in a program, not even indirectly.
var forbidden = map[string]struct {
	prefixes []string
	why      string
}{
	"cmd/hearth-init": {
		prefixes: []string{
			"github.com/aws/", "go.etcd.io/", "google.golang.org/grpc", "google.golang.org/protobuf",
			"github.com/spf13/", "github.com/nats-io/", "github.com/prometheus/", "go.opentelemetry.io/",
			"gvisor.dev/", "crypto/tls", "os/user", "plugin",
		},
		why: "process 1 of every sandbox is small, starts in milliseconds, and is in reach of hostile code",
	},
}

// CheckClosure finds in the closure of a program what must not be there.
func CheckClosure(program string, closure []string) []string {
	rule := forbidden[program]
	var findings []string
	for _, dependency := range closure {
		for _, prefix := range rule.prefixes {
			if dependency == prefix || strings.HasPrefix(dependency, strings.TrimSuffix(prefix, "/")+"/") {
				findings = append(findings, fmt.Sprintf("%s depends on %s: %s", program, dependency, rule.why))
			}
		}
	}
	return findings
}

// vague names tell nothing of what is in a package.
var vague = []string{
	"base", "common", "core", "helper", "helpers", "lib", "manager", "misc", "models", "pkg", "shared",
	"types", "util", "utils",
}

// CheckNames finds packages whose names are not nouns of the architecture.
func CheckNames(packages []Package) []string {
	var findings []string
	for _, p := range packages {
		for element := range strings.SplitSeq(strings.TrimPrefix(p.ImportPath, module), "/") {
			if slices.Contains(vague, element) {
				findings = append(findings, fmt.Sprintf("%s: %q says nothing; name it after what it holds", p.ImportPath, element))
			}
		}
		if last := path.Base(p.ImportPath); p.Name != "main" && p.Name != last {
			findings = append(findings, fmt.Sprintf("%s: its package is named %s; a reader looks for one name", p.ImportPath, p.Name))
		}
		if strings.ToLower(p.Name) != p.Name || strings.Contains(p.Name, "_") {
			findings = append(findings, p.ImportPath+": a package name is one lower-case word")
		}
	}
	return findings
}
