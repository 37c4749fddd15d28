package kms

import (
	"context"
	"encoding/base64"
	"fmt"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"

	"hearth/internal/awserr"
	"hearth/internal/sigv4"
)

// TestOtherAccountsReachNothing asks for everything with another account's
// key, which is no different from one that does not exist.
func TestOtherAccountsReachNothing(t *testing.T) {
	b := start(t)
	k := b.makeKey(t, account)
	blob, err := b.encrypt(t.Context(), k, forAPI, nil, []byte("x"))
	if err != nil {
		t.Fatal(err)
	}
	theirs := b.makeKey(t, other)
	text := base64.StdEncoding.EncodeToString(blob)
	for name := range served {
		switch name {
		case "CreateKey", "ListKeys", "GenerateRandom": // have no key
			continue
		}
		for _, arn := range []string{k.arn(), keyARN(region, account, newID())} {
			body := fmt.Sprintf(`{"KeyId":%q,"TargetKeyId":%q,"AliasName":"alias/x","Plaintext":"eA==","CiphertextBlob":%q,"KeySpec":"AES_256","Policy":%q,
				"DestinationKeyId":%q,"Description":"x","Tags":[]}`, arn, arn, text, defaultPolicy(account), theirs.arn())
			if name == "DeleteAlias" {
				continue // names no key
			}
			err := b.do(t, root(other), targetPrefix+name, body, nil)
			wantError(t, err, "AccessDeniedException", "")
		}
	}
	if now, _ := b.keys.Lookup(tableKey(account, k.ID)); now != k {
		t.Error("the key was changed")
	}
	if ids := b.keys.List(other, "", "", 10); len(ids) != 1 {
		t.Errorf("%d keys", len(ids))
	}
}

// TestAuthorize gives decisions to a policy engine of the test's own.
func TestAuthorize(t *testing.T) {
	var asked []Access
	refuse := ""
	b := start(t, func(c *Config) {
		c.Authorize = func(_ context.Context, caller sigv4.Identity, a Access) error {
			asked = append(asked, a)
			if a.Action == refuse {
				return denied(caller, a.Action, a.Resource)
			}
			return nil
		}
	})
	k1, k2 := b.makeKey(t, account), b.makeKey(t, account)
	if len(asked) != 2 || asked[0].Action != "kms:CreateKey" || asked[0].Resource != "*" || asked[0].Account != account {
		t.Errorf("asked %+v", asked)
	}
	ctx, c := t.Context(), b.client(t, other) // across accounts: the engine says yes
	enc, err := c.Encrypt(ctx, &kms.EncryptInput{KeyId: aws.String(k1.arn()), Plaintext: []byte("x"), EncryptionContext: map[string]string{"p": "q"}})
	if err != nil {
		t.Fatal(err)
	}
	last := asked[len(asked)-1]
	if last.Action != "kms:Encrypt" || last.Resource != k1.arn() || last.Policy != k1.Policy || last.Account != account ||
		last.Conditions["kms:EncryptionContext:p"] != "q" || last.Conditions["kms:CallerAccount"] != other {
		t.Errorf("asked %+v", last)
	}
	asked = nil
	re := &kms.ReEncryptInput{CiphertextBlob: enc.CiphertextBlob, SourceEncryptionContext: map[string]string{"p": "q"}, DestinationKeyId: aws.String(k2.arn())}
	if _, err := c.ReEncrypt(ctx, re); err != nil {
		t.Fatal(err)
	}
	if len(asked) != 2 || asked[0].Action != "kms:ReEncryptFrom" || asked[0].Resource != k1.arn() || asked[1].Action != "kms:ReEncryptTo" || asked[1].Resource != k2.arn() {
		t.Errorf("asked %+v", asked)
	}
	refuse = "kms:ReEncryptTo"
	_, err = c.ReEncrypt(ctx, re)
	wantError(t, err, "AccessDeniedException", "is not authorized to perform: kms:ReEncryptTo on resource: "+k2.arn())
	refuse = "kms:DisableKey"
	_, err = c.DisableKey(ctx, &kms.DisableKeyInput{KeyId: aws.String(k1.arn())})
	wantError(t, err, "AccessDeniedException", "")
	if now, _ := b.keys.Lookup(tableKey(account, k1.ID)); now.State != enabled {
		t.Error("the key was disabled before the caller was refused")
	}
	list, err := b.Access(ctx, root(account), "TrentService.Decrypt", fmt.Appendf(nil, `{"CiphertextBlob":%q}`, base64.StdEncoding.EncodeToString(enc.CiphertextBlob)))
	if err != nil || len(list) != 1 || list[0].Action != "kms:Decrypt" || list[0].Resource != k1.arn() {
		t.Errorf("%+v, %v", list, err)
	}
}

func TestManagedKey(t *testing.T) {
	b := start(t)
	ctx, c := t.Context(), b.client(t, account)
	d, err := c.DescribeKey(ctx, &kms.DescribeKeyInput{KeyId: aws.String("alias/aws/lambda")})
	if err != nil || string(d.KeyMetadata.KeyManager) != managedByAWS {
		t.Fatalf("%+v, %v", d, err)
	}
	if l, err := c.ListAliases(ctx, &kms.ListAliasesInput{}); err != nil || len(l.Aliases) != 1 || *l.Aliases[0].TargetKeyId != *d.KeyMetadata.KeyId {
		t.Errorf("%+v, %v", l, err)
	}
	id := *d.KeyMetadata.Arn
	for name, body := range map[string]string{
		"Encrypt": `"Plaintext":"eA=="`, "GenerateDataKey": `"KeySpec":"AES_256"`, "DisableKey": `"x":1`, "ScheduleKeyDeletion": `"x":1`,
		"PutKeyPolicy": `"Policy":"{\"Statement\":[]}"`, "TagResource": `"Tags":[]`, "RotateKeyOnDemand": `"x":1`, "EnableKeyRotation": `"x":1`,
		"UpdateKeyDescription": `"Description":"x"`, "CreateAlias": `"AliasName":"alias/x","TargetKeyId":"` + id + `"`,
	} {
		err := b.do(t, root(account), targetPrefix+name, `{"KeyId":"`+id+`",`+body+`}`, nil)
		wantError(t, err, "AccessDeniedException", "is not authorized to perform: kms:"+name)
	}
	if p, err := c.GetKeyPolicy(ctx, &kms.GetKeyPolicyInput{KeyId: &id}); err != nil || !strings.Contains(*p.Policy, "lambda.us-east-1.amazonaws.com") {
		t.Errorf("%+v, %v", p, err)
	}
}

func TestRotateKeys(t *testing.T) {
	b := start(t)
	k := b.makeKey(t, account)
	blob, err := b.encrypt(t.Context(), k, forAPI, nil, []byte("x"))
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := b.SealEnvironment(t.Context(), account, "arn:f", "", map[string]string{"A": "b"})
	if err != nil || b.EnvironmentStale(sealed) {
		t.Fatal(err)
	}
	var out RotateKeysOutput
	if err := b.do(t, root(account), "Hearth.RotateKeys", "{}", &out); err != nil {
		t.Fatal(err)
	}
	if out != (RotateKeysOutput{AccountKeyVersion: 2, LambdaKeyVersion: 2, Resealed: 2}) {
		t.Errorf("rotated: %+v", out)
	}
	k, _ = b.keys.Lookup(tableKey(account, k.ID))
	if b.keeper.Stale(account, k.current().Sealed) || len(k.Materials) != 1 {
		t.Error("the material was not sealed anew")
	}
	if got, err := b.decrypt(t.Context(), k, forAPI, nil, blob); err != nil || string(got) != "x" {
		t.Errorf("%q, %v", got, err)
	}
	if vars, err := b.OpenEnvironment(t.Context(), account, "arn:f", sealed); err != nil || vars["A"] != "b" || !b.EnvironmentStale(sealed) {
		t.Errorf("%v, %v", vars, err)
	}
	out = RotateKeysOutput{}
	if err := b.do(t, root(account), "Hearth.RotateKeys", `{"Master":true}`, &out); err != nil || out != (RotateKeysOutput{MasterKeyVersion: 2}) {
		t.Errorf("%+v, %v", out, err)
	}
	wantError(t, b.do(t, root(other), "Hearth.RotateKeys", `{"Master":true}`, nil), "AccessDeniedException", "hearth:RotateKeys")
	user := root(account)
	user.PrincipalARN = "arn:aws:iam::" + account + ":user/u"
	wantError(t, b.do(t, user, "Hearth.RotateKeys", `{}`, nil), "AccessDeniedException", "")
	if b.keeper.MasterVersion() != 2 {
		t.Errorf("master key %d", b.keeper.MasterVersion())
	}
}

func TestInputIsChecked(t *testing.T) {
	b := start(t)
	k := b.makeKey(t, account)
	long := strings.Repeat("x", 9000)
	for _, tt := range []struct{ name, body, code, words string }{
		{"Encrypt", `{`, "SerializationException", ""},
		{"Encrypt", `[]`, "SerializationException", ""},
		{"Encrypt", `{"KeyId":7}`, "SerializationException", ""},
		{"Encrypt", `{"Plaintext":"not base64!"}`, "SerializationException", ""},
		{"Encrypt", `{} {}`, "SerializationException", ""},
		{"Encrypt", ``, "ValidationException", "plaintext"},
		{"Encrypt", `{"Plaintext":"eA=="}`, "ValidationException", "keyId"},
		{"Encrypt", `{"Plaintext":""}`, "ValidationException", "plaintext"},
		{"Encrypt", `{"Plaintext":"` + base64.StdEncoding.EncodeToString(make([]byte, 4097)) + `"}`, "ValidationException", "4096"},
		{"Encrypt", `{"Plaintext":"eA==","KeyId":"what"}`, "NotFoundException", "Invalid keyId 'what'"},
		{"Encrypt", `{"Plaintext":"eA==","KeyId":"arn:aws:kms:eu-west-1:000000000000:key/` + k.ID + `"}`, "InvalidArnException", "Invalid arn"},
		{"Encrypt", `{"Plaintext":"eA==","KeyId":"` + long + `"}`, "ValidationException", "2048"},
		{"Encrypt", `{"Plaintext":"eA==","EncryptionContext":{"":"x"}}`, "ValidationException", "empty"},
		{"Encrypt", `{"Plaintext":"eA==","EncryptionContext":{"a":"` + long + `"}}`, "ValidationException", "8192"},
		{"Encrypt", `{"Plaintext":"eA==","EncryptionAlgorithm":"x"}`, "ValidationException", "enum"},
		{"Encrypt", `{"Plaintext":"eA==","EncryptionAlgorithm":"RSAES_OAEP_SHA_1"}`, "InvalidKeyUsageException", ""},
		{"Decrypt", `{}`, "ValidationException", "ciphertextBlob"},
		{"Decrypt", `{"CiphertextBlob":"eA=="}`, "InvalidCiphertextException", ""},
		{"Decrypt", `{"CiphertextBlob":"eA==","Recipient":{}}`, "UnsupportedOperationException", "enclave"},
		{"GenerateDataKey", `{"KeyId":"` + k.ID + `"}`, "ValidationException", "either number of bytes or key spec"},
		{"GenerateDataKey", `{"KeyId":"` + k.ID + `","KeySpec":"AES_256","NumberOfBytes":1}`, "ValidationException", "not both"},
		{"GenerateDataKey", `{"KeyId":"` + k.ID + `","KeySpec":"x"}`, "ValidationException", "enum"},
		{"GenerateDataKey", `{"KeyId":"` + k.ID + `","NumberOfBytes":1025}`, "ValidationException", "1024"},
		{"GenerateRandom", `{}`, "ValidationException", "numberOfBytes"},
		{"ScheduleKeyDeletion", `{"KeyId":"` + k.ID + `","PendingWindowInDays":6}`, "ValidationException", "between 7 and 30"},
		{"EnableKeyRotation", `{"KeyId":"` + k.ID + `","RotationPeriodInDays":89}`, "ValidationException", "90"},
		{"CreateKey", `{"Description":"` + long + `"}`, "ValidationException", "8192"},
		{"CreateKey", `{"Policy":"[]"}`, "MalformedPolicyDocumentException", ""},
		{"CreateKey", `{"Tags":[{"TagKey":""}]}`, "ValidationException", "tags.1.member.tagKey"},
		{"ListKeys", `{"Limit":0}`, "ValidationException", "limit"},
		{"ListKeys", `{"Marker":"%"}`, "InvalidMarkerException", ""},
		{"ListKeyRotations", `{"KeyId":"` + k.ID + `","Marker":"eA"}`, "InvalidMarkerException", ""},
		{"CancelKeyDeletion", `{"KeyId":"` + k.ID + `"}`, "KMSInvalidStateException", "not pending deletion"},
		{"ListKeys", `{"Marker":"` + strings.Repeat("x", MaxBody) + `"}`, "ValidationException", "at most"},
	} {
		wantError(t, b.do(t, root(account), targetPrefix+tt.name, tt.body, nil), tt.code, tt.words)
	}
}

// TestFaultsStayInside takes the keeper's keys away: the caller learns
// nothing, and nothing of it is an AWS error.
func TestFaultsStayInside(t *testing.T) {
	b := start(t)
	k := b.makeKey(t, account)
	bad := k.clone()
	bad.Materials[0].Sealed[20] ^= 1
	if _, err := b.encrypt(t.Context(), bad, forAPI, nil, []byte("x")); err == nil {
		t.Fatal("encrypted by damaged material")
	} else if _, ok := awserr.As(err); ok {
		t.Errorf("told the caller: %v", err)
	}
	// One key's material does not work for another.
	k2 := b.makeKey(t, account)
	swapped := k2.clone()
	swapped.Materials[0].Sealed = b.makeKey(t, account).Materials[0].Sealed
	if _, err := b.encrypt(t.Context(), swapped, forAPI, nil, []byte("x")); err == nil {
		t.Error("encrypted by another key's material")
	}
}
