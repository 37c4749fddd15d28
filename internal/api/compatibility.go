package api

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// partial says what is missing of operations that are served. An operation
// that is served and not named here does all that AWS documents of it, as far
// as it can be seen through the API.
var partial = map[string]string{
	"CreateFunction": "no container images, TenancyConfig, DurableConfig or CapacityProviderConfig; VpcConfig, FileSystemConfigs and " +
		"SnapStart are kept and shown without effect",
	"UpdateFunctionConfiguration": "as CreateFunction",
	"UpdateFunctionCode":          "no container images",
	"PublishVersion":              "no PublishTo; SnapStart makes no snapshot",
	"Invoke":                      "no InvocationType Event, TenantId or DurableExecutionName",
	"InvokeWithResponseStream":    "no InvocationType Event; not slowed down after 6 MB",

	"PutFunctionEventInvokeConfig":    "kept and shown; asynchronous invokes are not served yet",
	"UpdateFunctionEventInvokeConfig": "as PutFunctionEventInvokeConfig",
	"PutRuntimeManagementConfig":      "a runtime has one version here, that which its recipe builds",
	"PutFunctionRecursionConfig":      "kept and shown; nothing here makes functions call each other in a loop yet",
	"PutResourcePolicy":               "policies of functions, versions and aliases only",
	"GetResourcePolicy":               "as PutResourcePolicy",
	"DeleteResourcePolicy":            "as PutResourcePolicy",
	"AddPermission":                   "any principal can be named; accounts know no organizations",

	"CreateEventSourceMapping": "kept, validated and shown; nothing reads the source yet, and whether it exists is not checked",
	"UpdateEventSourceMapping": "as CreateEventSourceMapping",
	"CreateCodeSigningConfig":  "signatures of AWS Signer cannot be verified: with Enforce all new code is refused, with Warn all passes",
	"UpdateCodeSigningConfig":  "as CreateCodeSigningConfig",
}

// Support is how far an operation of Lambda's API is served.
type Support struct {
	Operation string
	// State is full, partial or refused.
	State string
	// Note is what is missing, or what a refused operation answers.
	Note string
}

// Compatibility lists all operations of the API's model.
func (s *Server) Compatibility() []Support {
	var all []Support
	for _, op := range operations {
		_, served := s.handlers[op.name]
		served = served || op.name == "Invoke" || op.name == "InvokeWithResponseStream"
		note := partial[op.name]
		switch {
		case !served:
			all = append(all, Support{op.name, "refused", "501 NotImplementedException: " + op.name + " is not supported yet by this version of Hearth."})
		case note != "":
			all = append(all, Support{op.name, "partial", note})
		default:
			all = append(all, Support{op.name, "full", ""})
		}
	}
	slices.SortFunc(all, func(a, b Support) int { return strings.Compare(a.Operation, b.Operation) })
	return all
}

// CompatibilityPage writes docs/compatibility.md.
func (s *Server) CompatibilityPage() string {
	all := s.Compatibility()
	count := make(map[string]int)
	for _, x := range all {
		count[x.State]++
	}
	var b strings.Builder
	fmt.Fprintf(&b, "# Lambda's API, operation by operation\n\n"+
		"Made from the code by `go test ./internal/api -run TestCompatibilityPage -update`; a test checks that it is current.\n"+
		"Of %d operations %d are served in full, %d in part, and %d are refused.\n\n| operation | state | what is missing, or the answer |\n|---|---|---|\n",
		len(all), count["full"], count["partial"], count["refused"])
	for _, x := range all {
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", x.Operation, x.State, x.Note)
	}
	return b.String()
}

// unknownPartials are operations named in partial that are not in the model or
// not served.
func (s *Server) unknownPartials() []string {
	known := make(map[string]bool)
	for _, x := range s.Compatibility() {
		known[x.Operation] = x.State == "partial"
	}
	return slices.DeleteFunc(slices.Sorted(maps.Keys(partial)), func(name string) bool { return known[name] })
}
