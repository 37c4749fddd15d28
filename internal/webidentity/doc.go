// Package webidentity believes tokens of OpenID Connect identity providers, or
// does not: it finds a provider's published keys and verifies tokens with them.
//
// Invariants:
//
//  1. A token is believed only if a key that its issuer publishes over HTTPS
//     signed it, by RS256 or ES256, whatever the token says of itself; its
//     issuer is the one asked for; it has not expired and is not of the future.
//  2. Nobody but an issuer that the caller knows is asked: the caller looks the
//     issuer up before it calls [Verifier.Verify].
//  3. What a provider sends is bounded in size and time, and it is asked at
//     most once in [Config.Refresh] however many tokens name keys that it
//     does not have.
//  4. No token is in an error.
//
// Which addresses may be reached is the business of the HTTP client that is
// passed in.
//
// Failure modes: a provider that is away: tokens go on being verified with the
// keys that are known, for [Config.Keep]; then [ErrUnreachable].
//
// The design is in docs/identity.md.
package webidentity
