package api_test

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"hearth/internal/api"
	"hearth/internal/audit"
	"hearth/internal/catalog"
	"hearth/internal/control"
	"hearth/internal/etcd"
	"hearth/internal/function"
	"hearth/internal/iam"
	"hearth/internal/invocation"
	"hearth/internal/keyring"
	"hearth/internal/kms"
	"hearth/internal/objectstore"
)

const (
	account = "000000000000"
	region  = "us-east-1"
	key     = "AKIAHEARTHTEST000001"
	secret  = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
	role    = "arn:aws:iam::000000000000:role/hearth-function"
	hiARN   = "arn:aws:lambda:us-east-1:000000000000:function:hi"
)

// hearth is the API over a real control plane, with the SDK as its client.
// Only what runs functions is missing.
type hearth struct {
	*lambda.Client
	t    *testing.T
	url  string
	http *http.Client
	// clock and sessions are how far the server's clock, and that by which
	// sessions end, are ahead of the real one, in nanoseconds.
	clock    *atomic.Int64
	sessions *atomic.Int64
	store    *etcd.Server
	objects  *objectstore.Dir
	plane    *control.Service
	events   *[]audit.Event
}

// idle prepares and runs nothing.
type idle struct{}

func (idle) Prepare(context.Context, *function.Record, *function.Config) error { return nil }

func (idle) Check(context.Context, string, string, string) error { return nil }

func (idle) Invoke(context.Context, string, string, string, *invocation.Request) (*invocation.Response, *invocation.Timeline, error) {
	return nil, nil, errors.New("nothing runs functions here")
}

func (idle) InvokeStream(context.Context, string, string, string, *invocation.Request, invocation.Sink) (*invocation.Response, *invocation.Timeline, error) {
	return nil, nil, errors.New("nothing runs functions here")
}

func (idle) Provisioned(*function.Record) (int, int, string) { return 0, 0, "" }

// options change what a test's control plane and server are made of.
type options func(*control.Config, *api.Config)

func startHearth(t *testing.T, changes ...options) hearth {
	t.Helper()
	dir, log := t.TempDir(), slog.New(slog.DiscardHandler)
	store, err := etcd.Start(t.Context(), etcd.Config{Dir: filepath.Join(dir, "etcd"), Log: log})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(store.Stop)
	records := catalog.New(catalog.Config{Client: store.Client(), Log: log})
	if err := records.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(records.Stop)
	objects, err := objectstore.OpenDir(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = objects.Close() })
	h := hearth{t: t, clock: new(atomic.Int64), sessions: new(atomic.Int64), events: new([]audit.Event)}
	now := func() time.Time { return time.Now().Add(time.Duration(h.clock.Load())) }
	var mu sync.Mutex
	record := func(e audit.Event) {
		mu.Lock()
		defer mu.Unlock()
		*h.events = append(*h.events, e)
	}
	life := func() time.Time { return time.Now().Add(time.Duration(h.sessions.Load())) }
	people, keys := startIdentities(t, store, dir, life, record)
	below := control.Config{
		Catalog: records, Objects: objects, Preparer: idle{}, Sealer: keys, Log: log, Region: region, Preparers: 8, ObjectGrace: time.Nanosecond,
	}
	cfg := api.Config{
		URLs: records, URLBase: "http://functions.test:4566",
		Invoker: idle{}, Provisioner: idle{}, Keys: people, Access: people, Identities: people, Region: region, Log: log,
		Runtimes: []string{"python3.11"}, Concurrency: 1000, Now: now, Audit: record,
		Operator: api.Operator{Authorize: people.AuthorizeOperator, Operations: map[string]func(context.Context, []byte) (any, error){
			"Echo": func(_ context.Context, body []byte) (any, error) { return map[string]string{"Body": string(body)}, nil },
		}},
	}
	for _, change := range changes {
		change(&below, &cfg)
	}
	plane := control.New(below)
	if err := plane.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(plane.Stop)
	cfg.Functions = plane
	server, err := api.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ts := httptest.NewServer(server)
	t.Cleanup(ts.Close)
	transport := &http.Transport{MaxIdleConnsPerHost: 32}
	t.Cleanup(transport.CloseIdleConnections)
	h.store, h.objects, h.plane = store, objects, plane
	h.url, h.http = ts.URL, &http.Client{Transport: transport}
	h.Client = h.root().Client
	return h
}

// file keeps a keyring where the test's other data is.
type file string

func (f file) Name() string          { return string(f) }
func (f file) Load() ([]byte, error) { return os.ReadFile(string(f)) }
func (f file) Save(b []byte) error   { return os.WriteFile(string(f), b, 0o600) }

// startIdentities starts the identity service with its root user.
func startIdentities(t *testing.T, store *etcd.Server, dir string, now func() time.Time, record func(audit.Event)) (*iam.Service, *kms.Service) {
	t.Helper()
	ring, err := keyring.Open(t.Context(), keyring.Config{Store: file(filepath.Join(dir, "keyring")), Client: store.Client()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(ring.Stop)
	people, err := iam.New(iam.Config{
		Client: store.Client(), Sealer: ring, Clock: now, Audit: record,
		Root: iam.Root{Account: account, AccessKeyID: key, Secret: secret},
	})
	if err == nil {
		err = people.Start(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(people.Stop)
	keys, err := kms.New(kms.Config{Client: store.Client(), Keeper: ring, Region: region, Authorize: people.Authorize, Operator: account})
	if err == nil {
		err = keys.Start(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(keys.Stop)
	return people, keys
}

func archiveOf(t *testing.T, body string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	f, err := w.Create("app.py")
	if err == nil {
		_, err = io.WriteString(f, body)
	}
	if err := errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// create creates a function and waits until it is active.
func (h hearth) create(name string) {
	h.t.Helper()
	_, err := h.CreateFunction(h.t.Context(), &lambda.CreateFunctionInput{
		FunctionName: &name, Role: aws.String(role), Runtime: types.RuntimePython311, Handler: aws.String("app.handler"),
		Code: &types.FunctionCode{ZipFile: archiveOf(h.t, name)},
	})
	if err == nil {
		waiter := lambda.NewFunctionActiveV2Waiter(h.Client, func(o *lambda.FunctionActiveV2WaiterOptions) { o.MinDelay = 10 * time.Millisecond })
		err = waiter.Wait(h.t.Context(), &lambda.GetFunctionInput{FunctionName: &name}, 20*time.Second)
	}
	if err != nil {
		h.t.Fatal(err)
	}
}

// update gives a function new code and waits until that serves.
func (h hearth) update(name, body string) {
	h.t.Helper()
	if _, err := h.UpdateFunctionCode(h.t.Context(), &lambda.UpdateFunctionCodeInput{FunctionName: &name, ZipFile: archiveOf(h.t, body)}); err != nil {
		h.t.Fatal(err)
	}
	h.settle(name)
}

// settle waits until what was asked for last serves.
func (h hearth) settle(name string) {
	h.t.Helper()
	if err := h.ready(name); err != nil {
		h.t.Fatal(err)
	}
}

// ready waits until what was asked for last serves.
func (h hearth) ready(name string) error {
	waiter := lambda.NewFunctionUpdatedV2Waiter(h.Client, func(o *lambda.FunctionUpdatedV2WaiterOptions) { o.MinDelay = 10 * time.Millisecond })
	return waiter.Wait(h.t.Context(), &lambda.GetFunctionInput{FunctionName: &name}, time.Minute)
}

func (h hearth) publish(name string) *lambda.PublishVersionOutput {
	h.t.Helper()
	out, err := h.PublishVersion(h.t.Context(), &lambda.PublishVersionInput{FunctionName: &name})
	if err != nil {
		h.t.Fatal(err)
	}
	return out
}

// want checks an error's status, code and words; no words accept any.
func want(t *testing.T, fact string, err error, status int, code, words string) {
	t.Helper()
	var e smithy.APIError
	var r *smithyhttp.ResponseError
	if !errors.As(err, &e) || !errors.As(err, &r) {
		t.Errorf("%s: got %v, want %s", fact, err, code)
		return
	}
	if e.ErrorCode() != code || words != "" && e.ErrorMessage() != words || r.HTTPStatusCode() != status {
		t.Errorf("%s: got  %d %s: %s\nwant %d %s: %s", fact, r.HTTPStatusCode(), e.ErrorCode(), e.ErrorMessage(), status, code, words)
	}
}

func TestVersions(t *testing.T) {
	h, ctx := startHearth(t), t.Context()
	hi := aws.String("hi")
	h.create("hi")
	latest, err := h.GetFunctionConfiguration(ctx, &lambda.GetFunctionConfigurationInput{FunctionName: hi})
	if err != nil {
		t.Fatal(err)
	}
	_, err = h.PublishVersion(ctx, &lambda.PublishVersionInput{FunctionName: hi, CodeSha256: aws.String("somenonexistentsha256")})
	want(t, "version-047", err, 400, "InvalidParameterValueException", "CodeSHA256 (somenonexistentsha256) is different from current CodeSHA256 in $LATEST ("+
		*latest.CodeSha256+"). Please try again with the CodeSHA256 in $LATEST.")
	one, err := h.PublishVersion(ctx, &lambda.PublishVersionInput{FunctionName: hi, Description: aws.String("First version description :)")})
	if err != nil {
		t.Fatal(err)
	}
	if *one.Version != "1" || *one.FunctionArn != hiARN+":1" || one.State != types.StateActive || one.LastUpdateStatus != types.LastUpdateStatusSuccessful ||
		*one.Description != "First version description :)" || *one.RevisionId == *latest.RevisionId || one.SnapStart.ApplyOn != types.SnapStartApplyOnNone {
		t.Errorf("version-049: %+v", one)
	}
	if again := h.publish("hi"); *again.Version != "1" {
		t.Errorf("publishing the same again: %s", *again.Version)
	}
	h.update("hi", "two")
	if two := h.publish("hi"); *two.Version != "2" || *two.CodeSha256 == *one.CodeSha256 {
		t.Errorf("version 2: %+v", two)
	}
	got, err := h.GetFunction(ctx, &lambda.GetFunctionInput{FunctionName: hi, Qualifier: aws.String("1")})
	if err != nil || *got.Configuration.CodeSha256 != *one.CodeSha256 || *got.Configuration.FunctionArn != hiARN+":1" {
		t.Fatalf("get version 1: %+v, %v", got, err)
	}
	if code := fetch(t, *got.Code.Location); !bytes.Equal(code, archiveOf(t, "hi")) {
		t.Errorf("the link to version 1 gives %d other bytes", len(code))
	}
	h.wantVersions("hi", "$LATEST", "1", "2")
	for range 2 {
		if _, err := h.DeleteFunction(ctx, &lambda.DeleteFunctionInput{FunctionName: hi, Qualifier: aws.String("1")}); err != nil {
			t.Errorf("delete version 1: %v", err)
		}
	}
	_, err = h.GetFunction(ctx, &lambda.GetFunctionInput{FunctionName: hi, Qualifier: aws.String("1")})
	want(t, "a deleted version", err, 404, "ResourceNotFoundException", "Function not found: "+hiARN+":1")
	_, err = h.PublishVersion(ctx, &lambda.PublishVersionInput{FunctionName: aws.String("hi:2")})
	want(t, "publish a version", err, 400, "InvalidParameterValueException", "")
}

func fetch(t *testing.T, url string) []byte {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%d %.200s, %v", resp.StatusCode, b, err)
	}
	return b
}

// wantVersions lists a function's versions, in pages of one and through
// ListFunctions.
func (h hearth) wantVersions(name string, want ...string) {
	h.t.Helper()
	var got, all []string
	pages := lambda.NewListVersionsByFunctionPaginator(h.Client, &lambda.ListVersionsByFunctionInput{FunctionName: &name, MaxItems: aws.Int32(1)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(h.t.Context())
		if err != nil {
			h.t.Fatal(err)
		}
		for _, v := range page.Versions {
			got = append(got, *v.Version)
		}
	}
	every := lambda.NewListFunctionsPaginator(h.Client, &lambda.ListFunctionsInput{FunctionVersion: types.FunctionVersionAll, MaxItems: aws.Int32(1)})
	for every.HasMorePages() {
		page, err := every.NextPage(h.t.Context())
		if err != nil {
			h.t.Fatal(err)
		}
		for _, v := range page.Functions {
			if *v.FunctionName == name && strings.HasSuffix(*v.FunctionArn, ":"+*v.Version) {
				all = append(all, *v.Version)
			}
		}
	}
	if !slices.Equal(got, want) || !slices.Equal(all, want) {
		h.t.Errorf("versions %v, among all functions %v, want %v", got, all, want)
	}
}

func TestAliases(t *testing.T) {
	h, ctx := startHearth(t), t.Context()
	hi, custom := aws.String("hi"), aws.String("custom")
	h.create("hi")
	h.publish("hi")
	h.update("hi", "two")
	h.publish("hi")

	a, err := h.CreateAlias(ctx, &lambda.CreateAliasInput{FunctionName: hi, Name: custom, FunctionVersion: aws.String("1")})
	if err != nil || *a.AliasArn != hiARN+":custom" || *a.FunctionVersion != "1" || *a.Description != "" || a.RoutingConfig != nil {
		t.Fatalf("create: %+v, %v", a, err)
	}
	_, err = h.CreateAlias(ctx, &lambda.CreateAliasInput{FunctionName: hi, Name: custom, FunctionVersion: aws.String("1")})
	want(t, "alias-051", err, 409, "ResourceConflictException", "Alias already exists: "+hiARN+":custom")
	weight := func(w float64) *types.AliasRoutingConfiguration {
		return &types.AliasRoutingConfiguration{AdditionalVersionWeights: map[string]float64{"2": w}}
	}
	_, err = h.CreateAlias(ctx, &lambda.CreateAliasInput{FunctionName: hi, Name: aws.String("x"), FunctionVersion: aws.String("1"), RoutingConfig: weight(2)})
	want(t, "alias-053", err, 400, "ValidationException", "1 validation error detected: Value '{2=2.0}' at 'routingConfig.additionalVersionWeights' "+
		"failed to satisfy constraint: Map value must satisfy constraint: [Member must have value less than or equal to 1.0, "+
		"Member must have value greater than or equal to 0.0, Member must not be null]")
	up, err := h.UpdateAlias(ctx, &lambda.UpdateAliasInput{FunctionName: hi, Name: custom, RoutingConfig: weight(0.1), RevisionId: a.RevisionId})
	if err != nil || up.RoutingConfig.AdditionalVersionWeights["2"] != 0.1 || *up.RevisionId == *a.RevisionId {
		t.Errorf("update: %+v, %v", up, err)
	}
	_, err = h.UpdateAlias(ctx, &lambda.UpdateAliasInput{FunctionName: hi, Name: custom, RevisionId: a.RevisionId})
	want(t, "stale revision", err, 412, "PreconditionFailedException", "")
	got, err := h.GetFunctionConfiguration(ctx, &lambda.GetFunctionConfigurationInput{FunctionName: hi, Qualifier: custom})
	if err != nil || *got.Version != "1" || *got.FunctionArn != hiARN+":custom" {
		t.Errorf("by alias: %+v, %v", got, err)
	}
	list, err := h.ListAliases(ctx, &lambda.ListAliasesInput{FunctionName: hi, FunctionVersion: aws.String("2")})
	if err != nil || len(list.Aliases) != 1 || *list.Aliases[0].Name != "custom" {
		t.Errorf("list: %+v, %v", list, err)
	}
	_, err = h.DeleteFunction(ctx, &lambda.DeleteFunctionInput{FunctionName: hi, Qualifier: custom})
	want(t, "delete a function by alias", err, 400, "InvalidParameterValueException", "Deletion of aliases is not currently supported.")
	for _, name := range []string{"custom", "none"} {
		if _, err := h.DeleteAlias(ctx, &lambda.DeleteAliasInput{FunctionName: hi, Name: &name}); err != nil {
			t.Errorf("alias-055: %v", err)
		}
	}
	_, err = h.GetAlias(ctx, &lambda.GetAliasInput{FunctionName: hi, Name: custom})
	want(t, "a deleted alias", err, 404, "ResourceNotFoundException", "Cannot find alias arn: "+hiARN+":custom")
}

func TestConcurrency(t *testing.T) {
	h, ctx := startHearth(t), t.Context()
	hi := aws.String("hi")
	h.create("hi")
	h.publish("hi")
	put, err := h.PutFunctionConcurrency(ctx, &lambda.PutFunctionConcurrencyInput{FunctionName: hi, ReservedConcurrentExecutions: aws.Int32(1)})
	if err != nil || *put.ReservedConcurrentExecutions != 1 {
		t.Errorf("concurrency-041: %+v, %v", put, err)
	}
	_, err = h.PutFunctionConcurrency(ctx, &lambda.PutFunctionConcurrencyInput{FunctionName: aws.String(hiARN + ":1"), ReservedConcurrentExecutions: aws.Int32(1)})
	want(t, "concurrency-043", err, 400, "InvalidParameterValueException", "This operation is permitted on Lambda functions only. "+
		"Aliases and versions do not support this operation. Please specify either a function name or an unqualified function ARN.")
	_, err = h.PutFunctionConcurrency(ctx, &lambda.PutFunctionConcurrencyInput{FunctionName: hi, ReservedConcurrentExecutions: aws.Int32(901)})
	want(t, "too much", err, 400, "InvalidParameterValueException", "Specified ReservedConcurrentExecutions for function decreases "+
		"account's UnreservedConcurrentExecution below its minimum value of [100].")
	settings, err := h.GetAccountSettings(ctx, &lambda.GetAccountSettingsInput{})
	if err != nil || *settings.AccountLimit.UnreservedConcurrentExecutions != 999 {
		t.Errorf("settings: %+v, %v", settings.AccountLimit, err)
	}
	got, err := h.GetFunction(ctx, &lambda.GetFunctionInput{FunctionName: hi})
	if err != nil || *got.Concurrency.ReservedConcurrentExecutions != 1 {
		t.Errorf("get: %+v, %v", got.Concurrency, err)
	}
	one := aws.String("1")
	_, err = h.GetProvisionedConcurrencyConfig(ctx, &lambda.GetProvisionedConcurrencyConfigInput{FunctionName: hi, Qualifier: one})
	want(t, "concurrency-045", err, 404, "ProvisionedConcurrencyConfigNotFoundException", "No Provisioned Concurrency Config found for this function")
	_, err = h.PutProvisionedConcurrencyConfig(ctx, &lambda.PutProvisionedConcurrencyConfigInput{FunctionName: hi, Qualifier: one, ProvisionedConcurrentExecutions: aws.Int32(2)})
	want(t, "more than reserved", err, 400, "InvalidParameterValueException", "Requested Provisioned Concurrency should not be greater than the reservedConcurrentExecution for function")
	if _, err := h.DeleteFunctionConcurrency(ctx, &lambda.DeleteFunctionConcurrencyInput{FunctionName: hi}); err != nil {
		t.Error(err)
	}
	p, err := h.PutProvisionedConcurrencyConfig(ctx, &lambda.PutProvisionedConcurrencyConfigInput{FunctionName: hi, Qualifier: one, ProvisionedConcurrentExecutions: aws.Int32(2)})
	if err != nil || p.Status != types.ProvisionedConcurrencyStatusEnumInProgress || *p.RequestedProvisionedConcurrentExecutions != 2 {
		t.Errorf("provision: %+v, %v", p, err)
	}
	list, err := h.ListProvisionedConcurrencyConfigs(ctx, &lambda.ListProvisionedConcurrencyConfigsInput{FunctionName: hi})
	if err != nil || len(list.ProvisionedConcurrencyConfigs) != 1 || *list.ProvisionedConcurrencyConfigs[0].FunctionArn != hiARN+":1" {
		t.Errorf("list: %+v, %v", list, err)
	}
	if _, err := h.DeleteProvisionedConcurrencyConfig(ctx, &lambda.DeleteProvisionedConcurrencyConfigInput{FunctionName: hi, Qualifier: one}); err != nil {
		t.Error(err)
	}
	_, err = h.PutProvisionedConcurrencyConfig(ctx, &lambda.PutProvisionedConcurrencyConfigInput{
		FunctionName: hi, Qualifier: aws.String("$LATEST"), ProvisionedConcurrentExecutions: aws.Int32(2),
	})
	want(t, "$LATEST", err, 400, "InvalidParameterValueException", "Provisioned Concurrency Configs cannot be applied to unpublished function versions.")
}

func TestPermissions(t *testing.T) {
	h, ctx := startHearth(t), t.Context()
	hi := aws.String("hi")
	h.create("hi")
	add := func(sid, qualifier string) (*lambda.AddPermissionOutput, error) {
		in := &lambda.AddPermissionInput{
			FunctionName: hi, StatementId: &sid, Action: aws.String("lambda:InvokeFunction"), Principal: aws.String("s3.amazonaws.com"),
			SourceArn: aws.String("arn:aws:s3:::bucket"),
		}
		if qualifier != "" {
			in.Qualifier = &qualifier
		}
		return h.AddPermission(ctx, in)
	}
	const statement = `{"Sid":"s3","Effect":"Allow","Principal":{"Service":"s3.amazonaws.com"},"Action":"lambda:InvokeFunction",` +
		`"Resource":"` + hiARN + `","Condition":{"ArnLike":{"AWS:SourceArn":"arn:aws:s3:::bucket"}}}`
	out, err := add("s3", "")
	if err != nil || *out.Statement != statement {
		t.Fatalf("add: %v, %v", out, err)
	}
	got, err := h.GetPolicy(ctx, &lambda.GetPolicyInput{FunctionName: hi})
	if err != nil {
		t.Fatal(err)
	}
	if !sameJSON(t, *got.Policy, `{"Version":"2012-10-17","Id":"default","Statement":[`+statement+`]}`) || *got.RevisionId == "" {
		t.Errorf("policy-057: %s", *got.Policy)
	}
	_, err = add("s3", "")
	want(t, "same sid", err, 409, "ResourceConflictException", "The statement id (s3) provided already exists. Please provide a new statement id, or remove the existing statement.")
	_, err = add("other", "$LATEST")
	want(t, "policy-059", err, 400, "InvalidParameterValueException", "We currently do not support adding policies for $LATEST.")
	_, err = h.RemovePermission(ctx, &lambda.RemovePermissionInput{FunctionName: hi, StatementId: aws.String("none")})
	want(t, "no such sid", err, 404, "ResourceNotFoundException", "Statement none is not found in resource policy.")
	_, err = h.RemovePermission(ctx, &lambda.RemovePermissionInput{FunctionName: hi, StatementId: aws.String("s3"), RevisionId: aws.String("x")})
	want(t, "stale revision", err, 412, "PreconditionFailedException", "")
	if _, err := h.RemovePermission(ctx, &lambda.RemovePermissionInput{FunctionName: hi, StatementId: aws.String("s3")}); err != nil {
		t.Error(err)
	}
	_, err = h.GetPolicy(ctx, &lambda.GetPolicyInput{FunctionName: hi})
	want(t, "policy-061", err, 404, "ResourceNotFoundException", "The resource you requested does not exist.")

	document := `{"Version":"2012-10-17","Statement":[` + statement + `]}`
	whole, err := h.PutResourcePolicy(ctx, &lambda.PutResourcePolicyInput{ResourceArn: aws.String(hiARN), Policy: &document})
	if err != nil || *whole.Policy != document {
		t.Errorf("whole policy: %+v, %v", whole, err)
	}
	_, err = h.PutResourcePolicy(ctx, &lambda.PutResourcePolicyInput{ResourceArn: aws.String(hiARN), Policy: aws.String(`{"Version":"2012-10-17"}`)})
	want(t, "a bad policy", err, 400, "InvalidParameterValueException", "")
	if _, err := h.DeleteResourcePolicy(ctx, &lambda.DeleteResourcePolicyInput{ResourceArn: aws.String(hiARN), RevisionId: whole.RevisionId}); err != nil {
		t.Error(err)
	}
	_, err = h.GetResourcePolicy(ctx, &lambda.GetResourcePolicyInput{ResourceArn: aws.String(hiARN)})
	want(t, "a removed policy", err, 404, "ResourceNotFoundException", "")
}

func sameJSON(t *testing.T, got, want string) bool {
	t.Helper()
	var a, b any
	if err := errors.Join(json.Unmarshal([]byte(got), &a), json.Unmarshal([]byte(want), &b)); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprint(a) == fmt.Sprint(b)
}
