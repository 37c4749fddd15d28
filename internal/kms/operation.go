package kms

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"maps"

	"hearth/internal/awserr"
)

// operation reads the parameters of a call and finds its keys. Nothing is done
// before the request that it returns is run.
type operation func(ctx context.Context, c *call, body []byte) (*request, error)

// op makes an operation of a function over its decoded parameters.
func op[In any](f func(ctx context.Context, c *call, in *In) (*request, error)) operation {
	return func(ctx context.Context, c *call, body []byte) (*request, error) {
		in := new(In)
		if err := decode(body, in); err != nil {
			return nil, err
		}
		return f(ctx, c, in)
	}
}

// decode reads a request's JSON. Unknown members are ignored, as AWS does.
func decode(body []byte, in any) error {
	if len(body) == 0 {
		return nil // as AWS takes it for {}
	}
	d := json.NewDecoder(bytes.NewReader(body))
	if err := d.Decode(in); err != nil {
		return awserr.New("SerializationException", "The body is not a JSON object of this operation's parameters.")
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return awserr.New("SerializationException", "Something follows the JSON object in the body.")
	}
	return nil
}

// operations are KMS's by name: those that are served, and those that answer
// why they are not.
var operations = func() map[string]operation {
	all := maps.Clone(served)
	for name, what := range notServed {
		all[name] = func(context.Context, *call, []byte) (*request, error) { return nil, unsupported(what) }
	}
	return all
}()

var served = map[string]operation{
	"CreateKey":            op(createKey),
	"DescribeKey":          op(describeKey),
	"ListKeys":             op(listKeys),
	"EnableKey":            op(enableKey),
	"DisableKey":           op(disableKey),
	"ScheduleKeyDeletion":  op(scheduleKeyDeletion),
	"CancelKeyDeletion":    op(cancelKeyDeletion),
	"UpdateKeyDescription": op(updateKeyDescription),

	"CreateAlias": op(createAlias),
	"UpdateAlias": op(updateAlias),
	"DeleteAlias": op(deleteAlias),
	"ListAliases": op(listAliases),

	"Encrypt":                         op(encrypt),
	"Decrypt":                         op(decrypt),
	"ReEncrypt":                       op(reEncrypt),
	"GenerateDataKey":                 op(generateDataKey),
	"GenerateDataKeyWithoutPlaintext": op(generateDataKeyWithoutPlaintext),
	"GenerateRandom":                  op(generateRandom),

	"EnableKeyRotation":    op(enableKeyRotation),
	"DisableKeyRotation":   op(disableKeyRotation),
	"GetKeyRotationStatus": op(getKeyRotationStatus),
	"RotateKeyOnDemand":    op(rotateKeyOnDemand),
	"ListKeyRotations":     op(listKeyRotations),

	"GetKeyPolicy":    op(getKeyPolicy),
	"PutKeyPolicy":    op(putKeyPolicy),
	"ListKeyPolicies": op(listKeyPolicies),

	"ListGrants":          op(listGrants),
	"ListRetirableGrants": op(listRetirableGrants),

	"TagResource":      op(tagResource),
	"UntagResource":    op(untagResource),
	"ListResourceTags": op(listResourceTags),
}

// notServed are KMS's other operations, and what they would need.
var notServed = map[string]string{ //nolint:gosec // names of operations, no credentials
	"CreateGrant": "Grants are", "RetireGrant": "Grants are", "RevokeGrant": "Grants are",
	"Sign": "Asymmetric keys are", "Verify": "Asymmetric keys are", "GetPublicKey": "Asymmetric keys are",
	"GenerateDataKeyPair": "Asymmetric keys are", "GenerateDataKeyPairWithoutPlaintext": "Asymmetric keys are",
	"DeriveSharedSecret": "Asymmetric keys are",
	"GenerateMac":        "HMAC keys are", "VerifyMac": "HMAC keys are",
	"ImportKeyMaterial": "Imported key material is", "GetParametersForImport": "Imported key material is",
	"DeleteImportedKeyMaterial": "Imported key material is",
	"CreateCustomKeyStore":      "Custom key stores are", "ConnectCustomKeyStore": "Custom key stores are",
	"DeleteCustomKeyStore": "Custom key stores are", "DescribeCustomKeyStores": "Custom key stores are",
	"DisconnectCustomKeyStore": "Custom key stores are", "UpdateCustomKeyStore": "Custom key stores are",
	"ReplicateKey": "Multi-Region keys are", "UpdatePrimaryRegion": "Multi-Region keys are",
}

// on is the access to a key by the call's own action.
func (c *call) on(k *key, conditions map[string]string) Access {
	return c.onAs(c.action, k, conditions)
}

func (c *call) onAs(action string, k *key, conditions map[string]string) Access {
	all := map[string]string{
		"kms:CallerAccount": c.AccountID, "kms:KeyOrigin": "AWS_KMS", "kms:KeySpec": symmetric, "kms:KeyUsage": encryptDecrypt,
	}
	maps.Copy(all, conditions)
	for name, value := range k.Tags {
		all["aws:ResourceTag/"+name] = value
	}
	return Access{Action: action, Resource: k.arn(), Account: k.Account, Policy: k.Policy, Conditions: all}
}

// onAccount is the access to what belongs to no key.
func (c *call) onAccount() Access {
	return Access{Action: c.action, Resource: "*", Account: c.AccountID, Conditions: map[string]string{"kms:CallerAccount": c.AccountID}}
}

// change finds a key by its id or ARN and makes a request that changes it.
// Keys that AWS manages are nobody's to change.
func (c *call) change(id string, edit func(now *key) (*key, error), answer func(k *key) any) (*request, error) {
	k, err := c.findKey(id)
	if err != nil {
		return nil, err
	}
	if k.Manager == managedByAWS {
		return nil, denied(c.Identity, c.action, k.arn())
	}
	return &request{access: []Access{c.on(k, nil)}, run: func(ctx context.Context) (any, error) {
		k, err := c.s.edit(ctx, c, k, edit)
		if err != nil || answer == nil {
			return nil, err
		}
		return answer(k), nil
	}}, nil
}

// edit changes a key's record.
func (s *Service) edit(ctx context.Context, c *call, k *key, edit func(now *key) (*key, error)) (*key, error) {
	k, err := s.keys.Change(ctx, tableKey(k.Account, k.ID), func(now *key) (*key, error) {
		if now == nil || now.gone(c.now) {
			return nil, keyNotFound(k.arn())
		}
		return edit(now.clone())
	})
	return k, storeError(err)
}
