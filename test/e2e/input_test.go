package e2e

import (
	"archive/zip"
	"bytes"
	"compress/flate"
	"errors"
	"hash/crc32"
	"io"
	"io/fs"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"

	"hearth/test/harness"
)

// creation is an input that would do.
func creation(t *testing.T) *lambda.CreateFunctionInput {
	t.Helper()
	return &lambda.CreateFunctionInput{
		FunctionName: aws.String(nameOf(t)), Runtime: types.RuntimePython311, Handler: aws.String("app.handler"), Role: aws.String(role),
		Code: &types.FunctionCode{ZipFile: code(t, python, "1")},
	}
}

// TestBadInput is about values out of bounds, in AWS's words; those recorded
// from AWS have their source in internal/api's tests.
func TestBadInput(t *testing.T) {
	t.Parallel()
	const (
		param      = "InvalidParameterValueException"
		validation = "ValidationException"
		detected   = "1 validation error detected: Value "
	)
	long := strings.Repeat("a", 65)
	tests := []struct {
		name          string
		change        func(in *lambda.CreateFunctionInput)
		code, message string
	}{
		{"role", func(in *lambda.CreateFunctionInput) { in.Role = aws.String("r1") }, validation,
			detected + `'r1' at 'role' failed to satisfy constraint: Member must satisfy regular expression pattern: arn:(aws[a-zA-Z-]*)?:iam::\d{12}:role/?[a-zA-Z_0-9+=,.@\-_/]+`},
		{"long name", func(in *lambda.CreateFunctionInput) { in.FunctionName = &long }, param,
			detected + "'" + long + "' at 'functionName' failed to satisfy constraint: Member must have length less than or equal to 64"},
		{"name with a space", func(in *lambda.CreateFunctionInput) { in.FunctionName = aws.String("a b") }, validation,
			detected + "'a b' at 'functionName' failed to satisfy constraint: Member must satisfy regular expression pattern: …"},
		{"name that climbs", func(in *lambda.CreateFunctionInput) { in.FunctionName = aws.String("../../etc/passwd") }, validation,
			detected + "'../../etc/passwd' at 'functionName' failed to satisfy constraint: Member must satisfy regular expression pattern: …"},
		{"other account", func(in *lambda.CreateFunctionInput) {
			in.FunctionName = aws.String("arn:aws:lambda:us-east-1:123456789012:function:f")
		}, "AccessDeniedException",
			"User: arn:aws:iam::000000000000:root is not authorized to perform: lambda:CreateFunction on resource: arn:aws:lambda:us-east-1:123456789012:function:f because …"},
		{"other region", func(in *lambda.CreateFunctionInput) {
			in.FunctionName = aws.String("arn:aws:lambda:eu-west-1:000000000000:function:f")
		}, "ResourceNotFoundException",
			"Functions from 'eu-west-1' are not reachable in this region ('us-east-1')"},
		{"handler with a space", func(in *lambda.CreateFunctionInput) { in.Handler = aws.String("a b") }, validation,
			detected + `'a b' at 'handler' failed to satisfy constraint: Member must satisfy regular expression pattern: [^\s]+`},
		{"no handler", func(in *lambda.CreateFunctionInput) { in.Handler = nil }, param,
			"Runtime and Handler are mandatory parameters for functions created with deployment packages."},
		{"unknown runtime", func(in *lambda.CreateFunctionInput) { in.Runtime = "cobol" }, param,
			"Value cobol at 'runtime' failed to satisfy constraint: Member must satisfy enum value set: [python3.11, nodejs20.x, provided.al2023] or be a valid ARN"},
		{"deprecated runtime", func(in *lambda.CreateFunctionInput) { in.Runtime = "java8" }, param,
			"The runtime parameter of java8 is no longer supported for creating or updating AWS Lambda functions. We recommend you use a supported runtime while creating or updating functions."},
		{"little memory", func(in *lambda.CreateFunctionInput) { in.MemorySize = aws.Int32(127) }, validation,
			detected + "'127' at 'memorySize' failed to satisfy constraint: Member must have value greater than or equal to 128"},
		{"much memory", func(in *lambda.CreateFunctionInput) { in.MemorySize = aws.Int32(10241) }, validation,
			detected + "'10241' at 'memorySize' failed to satisfy constraint: Member must have value less than or equal to 10240"},
		{"no time", func(in *lambda.CreateFunctionInput) { in.Timeout = aws.Int32(0) }, validation,
			detected + "'0' at 'timeout' failed to satisfy constraint: Member must have value greater than or equal to 1"},
		{"much time", func(in *lambda.CreateFunctionInput) { in.Timeout = aws.Int32(901) }, validation,
			detected + "'901' at 'timeout' failed to satisfy constraint: Member must have value less than or equal to 900"},
		{"two architectures", func(in *lambda.CreateFunctionInput) {
			in.Architectures = []types.Architecture{types.ArchitectureX8664, types.ArchitectureArm64}
		}, validation,
			detected + "'[x86_64, arm64]' at 'architectures' failed to satisfy constraint: Member must have length less than or equal to 1"},
		{"many variables", variables("LARGE_VAR", strings.Repeat("x", 4096)), param,
			`Lambda was unable to configure your environment variables because the environment variables you have provided exceeded the 4KB limit. String measured: {"LARGE_VAR":"xxx…`},
		{"reserved variable", variables("AWS_REGION", "mars"), param,
			"Lambda was unable to configure your environment variables because the environment variables you have provided contains reserved keys that are currently not supported for modification. Reserved keys used in this request: AWS_REGION"},
		{"no code", func(in *lambda.CreateFunctionInput) { in.Code = &types.FunctionCode{} }, param, "Please provide a source for function code."},
		{"layers", func(in *lambda.CreateFunctionInput) {
			in.Layers = []string{"arn:aws:lambda:us-east-1:000000000000:layer:none:1"}
		}, param,
			"Layer version arn:aws:lambda:us-east-1:000000000000:layer:none:1 does not exist."},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			in := creation(t)
			test.change(in)
			_, err := client(shared).CreateFunction(t.Context(), in)
			wantError(t, err, test.code, test.message)
			wantMissing(t, *in.FunctionName)
		})
	}
}

// wantMissing checks that nothing of a function was created.
func wantMissing(t *testing.T, name string) {
	t.Helper()
	_, err := client(shared).GetFunction(t.Context(), &lambda.GetFunctionInput{FunctionName: &name})
	if err == nil {
		t.Errorf("the function %s was created", name)
	}
}

func TestBadInvokes(t *testing.T) {
	t.Parallel()
	c := client(shared)
	_, err := c.Invoke(t.Context(), &lambda.InvokeInput{FunctionName: aws.String("doesnotexist")})
	wantError(t, err, "ResourceNotFoundException", "Function not found: arn:aws:lambda:us-east-1:000000000000:function:doesnotexist:$LATEST")
	f := deploy(t, python)
	_, err = f.send(t.Context(), nil, func(in *lambda.InvokeInput) { in.Qualifier = aws.String("non-existent-alias") })
	wantError(t, err, "ResourceNotFoundException", "Function not found: arn:aws:lambda:us-east-1:000000000000:function:"+f.name+":non-existent-alias")
	_, err = f.send(t.Context(), nil, func(in *lambda.InvokeInput) { in.ClientContext = aws.String("no base64!") })
	wantError(t, err, "InvalidRequestContentException", "Client context must be a valid Base64-encoded JSON object.")
	_, err = f.send(t.Context(), nil, func(in *lambda.InvokeInput) { in.InvocationType = "Sometimes" })
	wantError(t, err, "ValidationException", "1 validation error detected: Value 'Sometimes' at 'invocationType' failed to satisfy constraint: Member must satisfy enum value set: [Event, RequestResponse, DryRun]")
	_, err = c.GetFunction(t.Context(), &lambda.GetFunctionInput{FunctionName: aws.String(f.name + ":$LATEST"), Qualifier: aws.String("other")})
	wantError(t, err, "InvalidParameterValueException", "The derived qualifier from the function name does not match the specified qualifier.")
}

// badArchives are archives that must not become functions.
var badArchives = []struct {
	name    string
	make    func(t *testing.T, good []byte) []byte
	message string
}{
	{"empty", func(*testing.T, []byte) []byte { return []byte{} }, "Uploaded file must be a non-empty zip"},
	{"no file", func(t *testing.T, _ []byte) []byte { return harness.Zip(t, nil) }, "Uploaded file must be a non-empty zip"},
	{"not a zip", func(*testing.T, []byte) []byte { return []byte("#!/bin/sh\necho I am a script\n") }, unzip + "zip: not a valid zip file"},
	{"truncated", func(_ *testing.T, good []byte) []byte { return good[:len(good)/2] }, unzip + "zip: not a valid zip file"},
	{"damaged", damaged, unzip + `entry "app.py": zip: checksum error`},
	{"encrypted", func(t *testing.T, _ []byte) []byte { return entry(t, "app.py", "x", 0o644, 1) }, unzip + `entry "app.py": it is encrypted`},
	{"climbing", func(t *testing.T, _ []byte) []byte { return entry(t, "a/../../../etc/cron.d/evil", "x", 0o644, 0) },
		unzip + `entry "a/../../../etc/cron.d/evil": its path leads out of the archive`},
	{"absolute", func(t *testing.T, _ []byte) []byte { return entry(t, "/etc/cron.d/evil", "x", 0o644, 0) }, unzip + `entry "/etc/cron.d/evil": its path is absolute`},
	{"backslashes", func(t *testing.T, _ []byte) []byte { return entry(t, `..\..\evil`, "x", 0o644, 0) },
		unzip + `entry "..\\..\\evil": its path has a backslash; use / between directories`},
	{"link out", func(t *testing.T, _ []byte) []byte { return entry(t, "lib", "../../../etc", 0o777|fs.ModeSymlink, 0) }, unzip + `entry "lib": …`},
	{"absolute link", func(t *testing.T, _ []byte) []byte { return entry(t, "lib", "/etc/shadow", 0o777|fs.ModeSymlink, 0) }, unzip + `entry "lib": …`},
	{"device", func(t *testing.T, _ []byte) []byte { return entry(t, "dev", "", 0o666|fs.ModeDevice, 0) },
		unzip + `entry "dev": it is neither a file, a directory nor a symbolic link`},
	{"bomb", bomb, "Unzipped size must be smaller than 262144000 bytes"},
	{"bomb that lies", lyingBomb, unzip + "…"},
}

const unzip = "Could not unzip uploaded file. Please check your file, then try to upload again. Cause: archive is not valid: "

// entry makes an archive of one file, with flags of our own.
func entry(t *testing.T, name, text string, mode fs.FileMode, flags uint16) []byte {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	h := &zip.FileHeader{Name: name, Method: zip.Store, Flags: flags}
	h.SetMode(mode)
	create := z.CreateHeader // computes sizes and checksum
	if flags != 0 {
		create = z.CreateRaw
	}
	w, err := create(h)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(w, text); err != nil {
		t.Fatal(err)
	}
	if _, err := z.Create("another.py"); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// damaged changes a byte of a file that is stored as it is.
func damaged(t *testing.T, _ []byte) []byte {
	b := entry(t, "app.py", "x = 1\n", 0o644, 0)
	return bytes.Replace(b, []byte("x = 1"), []byte("x = 2"), 1)
}

// bombSize is the size that an archive must not have unpacked.
const bombSize = 262144000

// bomb is small, and large unpacked.
func bomb(t *testing.T, _ []byte) []byte { return bombOf(t, bombSize) }

// lyingBomb is a bomb whose directory says that it is small.
func lyingBomb(t *testing.T, _ []byte) []byte { return bombOf(t, 1000) }

// bombOf makes a bomb whose directory admits to a size. One megabyte is packed
// and then repeated: it refers to nothing but itself.
func bombOf(t *testing.T, admits uint64) []byte {
	t.Helper()
	var packed bytes.Buffer
	w, err := flate.NewWriter(&packed, flate.BestCompression)
	if err != nil {
		t.Fatal(err)
	}
	const piece = 1 << 20
	if _, err := w.Write(make([]byte, piece)); err != nil {
		t.Fatal(err)
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	all := bytes.Repeat(packed.Bytes(), bombSize/piece)
	all = append(all, 0x03, 0x00) // an empty last block

	var b bytes.Buffer
	z := zip.NewWriter(&b)
	raw, err := z.CreateRaw(&zip.FileHeader{
		Name: "app.py", Method: zip.Deflate, CompressedSize64: uint64(len(all)), UncompressedSize64: admits,
		CRC32: crc32.ChecksumIEEE(make([]byte, bombSize)),
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := raw.Write(all); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

func TestBadArchives(t *testing.T) {
	good := code(t, python, "1")
	f := deploy(t, python)
	before := len(objects(t, shared.Data))
	for _, test := range badArchives {
		t.Run(test.name, func(t *testing.T) {
			bad := test.make(t, good)
			in := creation(t)
			in.Code.ZipFile = bad
			_, err := f.client.CreateFunction(t.Context(), in)
			wantError(t, err, "InvalidParameterValueException", test.message)
			wantMissing(t, *in.FunctionName)
			// Nor does an update with it change anything.
			_, err = f.client.UpdateFunctionCode(t.Context(), &lambda.UpdateFunctionCodeInput{FunctionName: &f.name, ZipFile: bad})
			wantError(t, err, "InvalidParameterValueException", test.message)
			f.wantVersion(t, "1")
		})
	}
	if after := len(objects(t, shared.Data)); after != before {
		t.Errorf("%d objects are in the store, %d were before", after, before)
	}
}

// TestLargeArchive is about the limit of what can be uploaded in a request.
func TestLargeArchive(t *testing.T) {
	in := creation(t)
	in.Code.ZipFile = make([]byte, 50<<20+1)
	_, err := client(shared).CreateFunction(t.Context(), in)
	wantError(t, err, "RequestEntityTooLargeException", "Zipped size must be smaller than 52428800 bytes")
	in.Code.ZipFile = make([]byte, 51<<20)
	_, err = client(shared).CreateFunction(t.Context(), in)
	if status(err) != 413 && !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("got %v, want 413", err)
	}
}
