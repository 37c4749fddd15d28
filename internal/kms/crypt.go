package kms

import (
	"context"
	"crypto/rand"
	"strconv"

	"hearth/internal/awserr"
)

// AWS's bounds.
const (
	maxPlaintext = 4096
	maxBlob      = 6144
	maxRandom    = 1024
	// maxContext bounds an encryption context, names and values together.
	maxContext = 8192
)

// dry is what all operations with a key's material have in common.
type dry struct {
	DryRun    bool `json:"DryRun"`
	Recipient any  `json:"Recipient"`
}

func (d dry) check() error {
	if d.Recipient != nil {
		return unsupported("Recipient (an enclave's document) is")
	}
	return nil
}

// unlessDry ends a request that is only tried out.
func (d dry) unlessDry(run func(ctx context.Context) (any, error)) func(ctx context.Context) (any, error) {
	if !d.DryRun {
		return run
	}
	return func(context.Context) (any, error) {
		return nil, awserr.New("DryRunOperationException", "The request would have succeeded, but the DryRun option is set.")
	}
}

func checkAlgorithm(s, member string) error {
	switch s {
	case "", symmetric:
		return nil
	case "RSAES_OAEP_SHA_1", "RSAES_OAEP_SHA_256", "SM2PKE":
		return awserr.New("InvalidKeyUsageException", "Algorithm %s and key spec %s are incompatible.", s, symmetric)
	}
	return constraint(s, member, "Member must satisfy enum value set: [SYMMETRIC_DEFAULT, RSAES_OAEP_SHA_1, RSAES_OAEP_SHA_256, SM2PKE]")
}

func checkContext(encryptionContext map[string]string) error {
	size := 0
	for name, value := range encryptionContext {
		if name == "" {
			return badValue("EncryptionContext: a name is empty.")
		}
		size += len(name) + len(value)
	}
	if size > maxContext {
		return badValue("EncryptionContext has %d bytes; at most %d are taken.", size, maxContext)
	}
	return nil
}

// usable finds a key that a request is to use, and refuses those that can not
// be used.
func (c *call) usable(ctx context.Context, id string) (*key, error) {
	k, err := c.find(ctx, id)
	if err != nil {
		return nil, err
	}
	return k, c.mayUse(k)
}

func (c *call) mayUse(k *key) error {
	if k.Manager == managedByAWS {
		return denied(c.Identity, c.action, k.arn())
	}
	return nil
}

// using is the access to a key with an encryption context.
func (c *call) using(action string, k *key, id string, encryptionContext map[string]string) Access {
	conditions := c.requestAlias(id)
	if conditions == nil {
		conditions = map[string]string{}
	}
	conditions["kms:EncryptionAlgorithm"] = symmetric
	for name, value := range encryptionContext {
		conditions["kms:EncryptionContext:"+name] = value
	}
	return c.onAs(action, k, conditions)
}

// with is the request that runs with one key, as it is then.
func (c *call) with(k *key, id string, encryptionContext map[string]string, run func(ctx context.Context, k *key) (any, error)) *request {
	access := c.using(c.action, k, id, encryptionContext)
	return &request{access: []Access{access}, run: func(ctx context.Context) (any, error) {
		k, err := c.fresh(k)
		if err != nil {
			return nil, err
		}
		return run(ctx, k)
	}}
}

// fresh returns a key as it is when a request is run, if it can be used.
func (c *call) fresh(k *key) (*key, error) {
	now, ok := c.lookup(k.Account, k.ID)
	if !ok {
		return nil, keyNotFound(k.arn())
	}
	return now, mustBeEnabled(now)
}

type encryptInput struct {
	dry
	KeyID               string            `json:"KeyId"`
	Plaintext           []byte            `json:"Plaintext"`
	EncryptionContext   map[string]string `json:"EncryptionContext"`
	EncryptionAlgorithm string            `json:"EncryptionAlgorithm"`
}

func (in *encryptInput) check() error {
	if err := in.dry.check(); err != nil {
		return err
	}
	if in.Plaintext == nil {
		return missing("plaintext")
	}
	if len(in.Plaintext) == 0 || len(in.Plaintext) > maxPlaintext {
		return constraint("", "plaintext", "Member must have length between 1 and "+strconv.Itoa(maxPlaintext))
	}
	if err := checkAlgorithm(in.EncryptionAlgorithm, "encryptionAlgorithm"); err != nil {
		return err
	}
	return checkContext(in.EncryptionContext)
}

type encryptOutput struct {
	CiphertextBlob      []byte `json:"CiphertextBlob"`
	KeyID               string `json:"KeyId"`
	EncryptionAlgorithm string `json:"EncryptionAlgorithm"`
}

func encrypt(ctx context.Context, c *call, in *encryptInput) (*request, error) {
	if err := in.check(); err != nil {
		return nil, err
	}
	k, err := c.usable(ctx, in.KeyID)
	if err != nil {
		return nil, err
	}
	return c.with(k, in.KeyID, in.EncryptionContext, func(ctx context.Context, k *key) (any, error) {
		return in.unlessDry(func(ctx context.Context) (any, error) {
			blob, err := c.s.encrypt(ctx, k, forAPI, in.EncryptionContext, in.Plaintext)
			return encryptOutput{blob, k.arn(), symmetric}, err
		})(ctx)
	}), nil
}

type decryptInput struct {
	dry
	KeyID               string            `json:"KeyId"`
	CiphertextBlob      []byte            `json:"CiphertextBlob"`
	EncryptionContext   map[string]string `json:"EncryptionContext"`
	EncryptionAlgorithm string            `json:"EncryptionAlgorithm"`
}

// source finds the key that a ciphertext names. One that the caller names as
// well must be the same.
func (c *call) source(ctx context.Context, blob []byte, id string) (*key, error) {
	if blob == nil {
		return nil, missing("ciphertextBlob")
	}
	if len(blob) == 0 || len(blob) > maxBlob {
		return nil, constraint("", "ciphertextBlob", "Member must have length between 1 and "+strconv.Itoa(maxBlob))
	}
	h, ok := readHeader(blob)
	if !ok {
		return nil, badCiphertext()
	}
	k, ok := c.lookup(h.account, h.id)
	if !ok {
		return nil, inaccessible()
	}
	if id != "" {
		named, err := c.find(ctx, id)
		if err != nil {
			return nil, err
		}
		if named.ID != k.ID || named.Account != k.Account {
			return nil, awserr.New("IncorrectKeyException", "The key ID in the request does not identify a CMK that can perform this operation.")
		}
	}
	return k, c.mayUse(k)
}

func decrypt(ctx context.Context, c *call, in *decryptInput) (*request, error) {
	if err := in.check(); err != nil {
		return nil, err
	}
	if err := checkAlgorithm(in.EncryptionAlgorithm, "encryptionAlgorithm"); err != nil {
		return nil, err
	}
	if err := checkContext(in.EncryptionContext); err != nil {
		return nil, err
	}
	k, err := c.source(ctx, in.CiphertextBlob, in.KeyID)
	if err != nil {
		return nil, err
	}
	return c.with(k, in.KeyID, in.EncryptionContext, func(ctx context.Context, k *key) (any, error) {
		plaintext, err := c.s.decrypt(ctx, k, forAPI, in.EncryptionContext, in.CiphertextBlob)
		if err != nil {
			return nil, err
		}
		return in.unlessDry(func(context.Context) (any, error) {
			return struct {
				KeyID               string `json:"KeyId"`
				Plaintext           []byte `json:"Plaintext"`
				EncryptionAlgorithm string `json:"EncryptionAlgorithm"`
			}{k.arn(), plaintext, symmetric}, nil
		})(ctx)
	}), nil
}

type reEncryptInput struct {
	dry
	CiphertextBlob                 []byte            `json:"CiphertextBlob"`
	SourceKeyID                    string            `json:"SourceKeyId"`
	SourceEncryptionContext        map[string]string `json:"SourceEncryptionContext"`
	SourceEncryptionAlgorithm      string            `json:"SourceEncryptionAlgorithm"`
	DestinationKeyID               string            `json:"DestinationKeyId"`
	DestinationEncryptionContext   map[string]string `json:"DestinationEncryptionContext"`
	DestinationEncryptionAlgorithm string            `json:"DestinationEncryptionAlgorithm"`
}

func (in *reEncryptInput) check() error {
	if err := in.dry.check(); err != nil {
		return err
	}
	for member, algorithm := range map[string]string{
		"sourceEncryptionAlgorithm": in.SourceEncryptionAlgorithm, "destinationEncryptionAlgorithm": in.DestinationEncryptionAlgorithm,
	} {
		if err := checkAlgorithm(algorithm, member); err != nil {
			return err
		}
	}
	if err := checkContext(in.SourceEncryptionContext); err != nil {
		return err
	}
	return checkContext(in.DestinationEncryptionContext)
}

func reEncrypt(ctx context.Context, c *call, in *reEncryptInput) (*request, error) {
	if err := in.check(); err != nil {
		return nil, err
	}
	from, err := c.source(ctx, in.CiphertextBlob, in.SourceKeyID)
	if err != nil {
		return nil, err
	}
	to, err := c.usable(ctx, in.DestinationKeyID)
	if err != nil {
		return nil, err
	}
	return &request{access: []Access{
		c.using("kms:ReEncryptFrom", from, in.SourceKeyID, in.SourceEncryptionContext),
		c.using("kms:ReEncryptTo", to, in.DestinationKeyID, in.DestinationEncryptionContext),
	}, run: func(ctx context.Context) (any, error) {
		from, err := c.fresh(from)
		if err != nil {
			return nil, err
		}
		to, err := c.fresh(to)
		if err != nil {
			return nil, err
		}
		plaintext, err := c.s.decrypt(ctx, from, forAPI, in.SourceEncryptionContext, in.CiphertextBlob)
		if err != nil {
			return nil, err
		}
		return in.unlessDry(func(ctx context.Context) (any, error) {
			blob, err := c.s.encrypt(ctx, to, forAPI, in.DestinationEncryptionContext, plaintext)
			return struct {
				CiphertextBlob                 []byte `json:"CiphertextBlob"`
				SourceKeyID                    string `json:"SourceKeyId"`
				KeyID                          string `json:"KeyId"`
				SourceEncryptionAlgorithm      string `json:"SourceEncryptionAlgorithm"`
				DestinationEncryptionAlgorithm string `json:"DestinationEncryptionAlgorithm"`
			}{blob, from.arn(), to.arn(), symmetric, symmetric}, err
		})(ctx)
	}}, nil
}

type dataKeyInput struct {
	dry
	KeyID             string            `json:"KeyId"`
	KeySpec           string            `json:"KeySpec"`
	NumberOfBytes     *int              `json:"NumberOfBytes"`
	EncryptionContext map[string]string `json:"EncryptionContext"`
}

// size checks a data key's parameters and returns its length.
func (in *dataKeyInput) size() (int, error) {
	if err := in.check(); err != nil {
		return 0, err
	}
	if err := checkContext(in.EncryptionContext); err != nil {
		return 0, err
	}
	switch {
	case in.KeySpec == "" && in.NumberOfBytes == nil:
		return 0, badValue("Please specify either number of bytes or key spec.")
	case in.KeySpec != "" && in.NumberOfBytes != nil:
		return 0, badValue("Please specify either number of bytes or key spec, but not both.")
	case in.NumberOfBytes != nil:
		return randomSize(in.NumberOfBytes)
	case in.KeySpec == "AES_256":
		return 32, nil
	case in.KeySpec == "AES_128":
		return 16, nil
	}
	return 0, constraint(in.KeySpec, "keySpec", "Member must satisfy enum value set: [AES_256, AES_128]")
}

func randomSize(n *int) (int, error) {
	if n == nil {
		return 0, missing("numberOfBytes")
	}
	if *n < 1 || *n > maxRandom {
		return 0, constraint(strconv.Itoa(*n), "numberOfBytes", "Member must have value between 1 and "+strconv.Itoa(maxRandom))
	}
	return *n, nil
}

type dataKeyOutput struct {
	CiphertextBlob []byte `json:"CiphertextBlob"`
	Plaintext      []byte `json:"Plaintext,omitempty"`
	KeyID          string `json:"KeyId"`
}

func generateDataKey(ctx context.Context, c *call, in *dataKeyInput) (*request, error) {
	return makeDataKey(ctx, c, in, true)
}

func generateDataKeyWithoutPlaintext(ctx context.Context, c *call, in *dataKeyInput) (*request, error) {
	return makeDataKey(ctx, c, in, false)
}

func makeDataKey(ctx context.Context, c *call, in *dataKeyInput, show bool) (*request, error) {
	size, err := in.size()
	if err != nil {
		return nil, err
	}
	k, err := c.usable(ctx, in.KeyID)
	if err != nil {
		return nil, err
	}
	return c.with(k, in.KeyID, in.EncryptionContext, func(ctx context.Context, k *key) (any, error) {
		return in.unlessDry(func(ctx context.Context) (any, error) {
			out := dataKeyOutput{Plaintext: make([]byte, size), KeyID: k.arn()}
			rand.Read(out.Plaintext) // never fails: it ends the program instead
			var err error
			out.CiphertextBlob, err = c.s.encrypt(ctx, k, forAPI, in.EncryptionContext, out.Plaintext)
			if !show {
				out.Plaintext = nil
			}
			return out, err
		})(ctx)
	}), nil
}

type randomInput struct {
	NumberOfBytes    *int   `json:"NumberOfBytes"`
	CustomKeyStoreID string `json:"CustomKeyStoreId"`
	Recipient        any    `json:"Recipient"`
}

func generateRandom(_ context.Context, c *call, in *randomInput) (*request, error) {
	if in.CustomKeyStoreID != "" || in.Recipient != nil {
		return nil, unsupported("A custom key store or a recipient is")
	}
	size, err := randomSize(in.NumberOfBytes)
	if err != nil {
		return nil, err
	}
	return &request{access: []Access{c.onAccount()}, run: func(context.Context) (any, error) {
		b := make([]byte, size)
		rand.Read(b) // never fails: it ends the program instead
		return map[string][]byte{"Plaintext": b}, nil
	}}, nil
}
