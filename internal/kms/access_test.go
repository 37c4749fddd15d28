package kms

import (
	"context"
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/google/uuid"

	"hearth/internal/awserr"
	"hearth/internal/policy"
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
		case "CreateKey", "ListKeys", "GenerateRandom", "ListRetirableGrants": // have no key
			continue
		}
		for _, arn := range []string{k.arn(), keyARN(region, account, uuid.NewString())} {
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

// deciding has the policy engine decide, by policies of a user's.
func deciding(t testing.TB, identity map[string]string, asked *[]policy.Request) func(*Config) {
	t.Helper()
	sets := map[string]*policy.Set{}
	for arn, text := range identity {
		d, err := policy.Parse(policy.KindIdentity, "own", []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		sets[arn] = policy.NewSet([]*policy.Document{d}, nil, nil)
	}
	return func(c *Config) {
		c.Authorize = func(_ context.Context, caller *sigv4.Identity, r *policy.Request, resource *policy.Document) error {
			r.Principal = &policy.Principal{Kind: policy.User, Account: caller.AccountID, ARN: caller.PrincipalARN}
			if strings.HasSuffix(caller.PrincipalARN, ":root") {
				r.Principal.Kind = policy.RootUser
			}
			if asked != nil {
				*asked = append(*asked, *r)
			}
			if d := policy.Evaluate(r, sets[caller.PrincipalARN], resource); !d.Allowed {
				return awserr.New("AccessDeniedException", "%s", d.Reason)
			}
			return nil
		}
	}
}

func user(accountID, name string) sigv4.Identity {
	id := root(accountID)
	id.PrincipalARN = "arn:aws:iam::" + accountID + ":user/" + name
	return id
}

func statement(effect, principal, action, condition string) string {
	s := `{"Version":"2012-10-17","Statement":[{"Effect":"` + effect + `","Action":"` + action + `","Resource":"*"`
	if principal != "" {
		s += `,"Principal":{"AWS":"` + principal + `"}`
	}
	if condition != "" {
		s += `,"Condition":` + condition
	}
	return s + "}]}"
}

// TestKeyPolicies decides by the policy engine who may use a key.
func TestKeyPolicies(t *testing.T) {
	ann, bob, eve := user(account, "ann"), user(account, "bob"), user(other, "eve")
	b := start(t, deciding(t, map[string]string{
		ann.PrincipalARN: statement("Allow", "", "kms:*", ""),
		eve.PrincipalARN: statement("Allow", "", "kms:*", ""),
	}, nil))
	encrypt := func(k *key) string {
		return `{"KeyId":"` + k.arn() + `","Plaintext":"eA==","EncryptionContext":{"team":"a"}}`
	}
	for _, tt := range []struct {
		name, policy  string
		ann, bob, eve bool
	}{
		{"AWS's default lets the account's policies decide", defaultPolicy(account), true, false, false},
		{"a user is named", statement("Allow", bob.PrincipalARN, "kms:Encrypt", ""), false, true, false},
		{"nobody of the account", statement("Allow", "arn:aws:iam::222222222222:root", "kms:*", ""), false, false, false},
		{"another account", statement("Allow", "arn:aws:iam::"+other+":root", "kms:Encrypt", ""), false, false, true},
		{"everybody", statement("Allow", "*", "kms:Encrypt", ""), true, true, true},
		{"with the right context", statement("Allow", "*", "kms:Encrypt", `{"StringEquals":{"kms:EncryptionContext:team":"a"}}`), true, true, true},
		{"with another context", statement("Allow", "*", "kms:Encrypt", `{"StringEquals":{"kms:EncryptionContext:team":"b"}}`), false, false, false},
		{"callers of the account", statement("Allow", "*", "kms:Encrypt", `{"StringEquals":{"kms:CallerAccount":"`+account+`"}}`), true, true, false},
		{"through Lambda only", statement("Allow", "*", "kms:*", `{"StringEquals":{"kms:ViaService":"lambda.us-east-1.amazonaws.com"}}`), false, false, false},
	} {
		k := b.newKey(account, uuid.NewString(), managedByCustomer, b.clock.Now())
		k.Policy = tt.policy
		var err error
		if k.Materials, err = b.nextMaterial(t.Context(), k, b.clock.Now(), false); err != nil {
			t.Fatal(err)
		}
		if _, err := b.keys.ChangeWith(t.Context(), tableKey(account, k.ID), createOnly(k)); err != nil {
			t.Fatal(err)
		}
		for who, want := range map[*sigv4.Identity]bool{&ann: tt.ann, &bob: tt.bob, &eve: tt.eve} {
			err := b.do(t, *who, "TrentService.Encrypt", encrypt(k), nil)
			if want && err != nil {
				t.Errorf("%s: %s: %v", tt.name, who.PrincipalARN, err)
			}
			if !want {
				wantError(t, err, "AccessDeniedException", "is not authorized to perform: kms:Encrypt")
			}
		}
	}
	via := b.keys.All()[0]
	for _, k := range b.keys.All() {
		if strings.Contains(k.Policy, "ViaService") {
			via = k
		}
	}
	if err := b.AuthorizeEnvironment(t.Context(), bob, nil, "kms:Decrypt", functionARN, via.arn()); err != nil {
		t.Errorf("through Lambda: %v", err)
	}
	// A policy that shuts its caller out is not taken, unless it is meant.
	shut := statement("Allow", bob.PrincipalARN, "kms:*", "")
	k := b.makeKey(t, account)
	body := `{"KeyId":"` + k.ID + `","Policy":` + strconv.Quote(shut)
	wantError(t, b.do(t, root(account), "TrentService.PutKeyPolicy", body+"}", nil), "MalformedPolicyDocumentException", "will not allow you to update")
	wantError(t, b.do(t, ann, "TrentService.CreateKey", `{"Policy":`+strconv.Quote(shut)+"}", nil), "MalformedPolicyDocumentException", "will not allow")
	if err := b.do(t, root(account), "TrentService.PutKeyPolicy", body+`,"BypassPolicyLockoutSafetyCheck":true}`, nil); err != nil {
		t.Error(err)
	}
	wantError(t, b.do(t, root(account), "TrentService.DescribeKey", `{"KeyId":"`+k.ID+`"}`, nil), "AccessDeniedException", "")
	wantError(t, b.do(t, bob, "TrentService.CreateKey", "{}", nil), "AccessDeniedException", "kms:CreateKey")
}

// TestEveryKeyIsAsked sees what is asked of the policy engine.
func TestEveryKeyIsAsked(t *testing.T) {
	var asked []policy.Request
	bob := user(account, "bob")
	b := start(t, deciding(t, map[string]string{
		bob.PrincipalARN: `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"kms:*","Resource":"*"},
			{"Effect":"Deny","Action":["kms:ReEncryptTo","kms:DisableKey"],"Resource":"*"}]}`,
	}, &asked))
	k1, k2 := b.makeKey(t, account), b.makeKey(t, account)
	if len(asked) != 2 || asked[0].Action != "kms:CreateKey" || asked[0].Resource != "*" || asked[0].ResourceAccount != account || asked[0].MustGrant {
		t.Errorf("asked %+v", asked)
	}
	asked = nil
	var enc struct{ CiphertextBlob []byte }
	body := `{"KeyId":"` + k1.ID + `","Plaintext":"eA==","EncryptionContext":{"p":"q"}}`
	if err := b.do(t, bob, "TrentService.Encrypt", body, &enc); err != nil {
		t.Fatal(err)
	}
	if len(asked) != 1 || asked[0].Action != "kms:Encrypt" || asked[0].Resource != k1.arn() || !asked[0].MustGrant {
		t.Errorf("asked %+v", asked)
	}
	list, err := b.Access(t.Context(), bob, "TrentService.Encrypt", []byte(body))
	if err != nil || len(list) != 1 || list[0].Policy != k1.Policy || list[0].Conditions["kms:EncryptionContext:p"] != "q" || list[0].Conditions["kms:CallerAccount"] != account {
		t.Errorf("%+v, %v", list, err)
	}
	blob := base64.StdEncoding.EncodeToString(enc.CiphertextBlob)
	re := fmt.Sprintf(`{"CiphertextBlob":%q,"SourceEncryptionContext":{"p":"q"},"DestinationKeyId":%q}`, blob, k2.arn())
	asked = nil
	wantError(t, b.do(t, bob, "TrentService.ReEncrypt", re, nil), "AccessDeniedException", "kms:ReEncryptTo")
	if len(asked) != 2 || asked[0].Action != "kms:ReEncryptFrom" || asked[0].Resource != k1.arn() || asked[1].Resource != k2.arn() {
		t.Errorf("asked %+v", asked)
	}
	if err := b.do(t, root(account), "TrentService.ReEncrypt", re, nil); err != nil {
		t.Error(err)
	}
	wantError(t, b.do(t, bob, "TrentService.DisableKey", `{"KeyId":"`+k1.ID+`"}`, nil), "AccessDeniedException", "")
	if now, _ := b.keys.Lookup(tableKey(account, k1.ID)); now.State != enabled {
		t.Error("the key was disabled before the caller was refused")
	}
	list, err = b.Access(t.Context(), root(account), "TrentService.Decrypt", fmt.Appendf(nil, `{"CiphertextBlob":%q}`, blob))
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
		"PutKeyPolicy": `"Policy":` + strconv.Quote(defaultPolicy(account)), "TagResource": `"Tags":[]`, "RotateKeyOnDemand": `"x":1`, "EnableKeyRotation": `"x":1`,
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
