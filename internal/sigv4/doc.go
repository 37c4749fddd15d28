// Package sigv4 verifies AWS Signature Version 4 on incoming requests, in the
// Authorization header or in the query (presigned), and signs outgoing ones.
//
// Invariants:
//
//  1. Nothing of a body is read before the shape of the credentials, the
//     existence of the key and the age of the request have been checked
//     (Begin). The signature itself needs the body's hash, so a caller bounds
//     what it reads between Begin and Check.
//  2. Signatures are compared in constant time. An unknown key and a wrong
//     signature are told apart, as AWS does; key ids are not secrets.
//  3. Every X-Amz-* header that is present must be signed, and Host too: what
//     is not signed must not steer the server.
//  4. The body is always bound to the signature: UNSIGNED-PAYLOAD is refused.
//  5. A signing key is derived once for a key, day, region and service; the
//     cache is bounded and filled only by requests that verified.
//
// The canonical form is that of services other than S3: the path as sent is
// encoded once more, and dot segments are left alone.
//
// Failure modes: every refusal is an *awserr.Error in AWS's words; an error
// of the key store comes back wrapped.
package sigv4
