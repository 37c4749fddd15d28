// Package logfilter is CloudWatch Logs' filter pattern syntax: terms, JSON
// patterns and patterns of fields between spaces, as FilterLogEvents and
// StartLiveTail take them.
//
// The grammar follows AWS's pages "Filter pattern syntax for metric filters,
// subscription filters, filter log events, and Live Tail" and, for regular
// expressions, "Supported regular expressions (regex) syntax", of the
// CloudWatch Logs user guide. Where these are silent:
//
//   - A term need not be quoted for its special characters.
//   - A pattern of fields without an ellipsis matches events of exactly as
//     many fields.
//   - A comparison with a property that is not there is false, also !=.
//   - A selector with [*] is true if it is for one of the elements.
//
// Invariants:
//
//  1. Parse ends and never panics, whatever the pattern; what it accepts has
//     at most MaxPattern bytes, maxDepth parentheses within each other and
//     maxProgram instructions of regular expressions.
//  2. Match takes time linear in the event, for a given pattern.
package logfilter
