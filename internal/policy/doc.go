// Package policy is the policy engine: it reads AWS's JSON policies and decides
// whether a request is allowed. It does no I/O, keeps no policies and knows no
// operation of any service.
//
// A caller parses each policy once ([Parse]), puts those of a principal
// together ([NewSet]), describes the request ([Request]) and asks ([Evaluate],
// or [Cache.Evaluate], which remembers).
//
// # Invariants
//
//  1. Nothing is allowed unless a statement allows it; the root user of an
//     account needs none in its own account.
//  2. A statement that denies wins over every statement that allows, wherever
//     the two are: adding one never allows more.
//  3. The order of statements, and of policies of one type, decides nothing
//     but which statement is named.
//  4. A boundary or a session policy never allows what would be denied without it.
//  5. A remembered decision is the decision: a [Cache] never answers from a
//     decision that a value it does not compare could change.
//  6. What a policy says is settled when it is parsed. Matching never fails,
//     and takes at most (length of the pattern × length of the text) steps.
//  7. Where AWS's documentation leaves a question open, a statement that allows
//     does not apply and one that denies does.
//
// # Failure modes
//
// Parse refuses what AWS refuses, with AWS's words and the place
// ([MalformedError]). A request without an account of its resource is one of
// another account. A key that the request lacks is absent: operators treat it
// as AWS documents.
//
// The design page is docs/identity.md, "Policy engine".
package policy
