package kms

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"time"

	"github.com/google/uuid"

	"hearth/internal/keyring"
	"hearth/internal/table"
)

// Where records lie in etcd.
const (
	keysPrefix    = "hearth/kms-keys/"
	aliasesPrefix = "hearth/kms-aliases/"
)

// Bounds of a key's record.
const (
	maxMaterials = 1000
	maxPolicy    = 32 << 10
	maxTags      = 50
)

// Who manages a key, in AWS's words.
const (
	managedByCustomer = "CUSTOMER"
	managedByAWS      = "AWS"
)

// The states of a key, in AWS's words.
const (
	enabled         = "Enabled"
	disabled        = "Disabled"
	pendingDeletion = "PendingDeletion"
)

// key is the record of a key.
type key struct {
	Account     string    `json:"account"`
	Region      string    `json:"region"`
	ID          string    `json:"id"` // a UUID
	Manager     string    `json:"manager"`
	Created     time.Time `json:"created"`
	Description string    `json:"description,omitempty"`
	State       string    `json:"state"`
	// Deletion is when a key that is pending deletion goes.
	Deletion time.Time         `json:"deletion,omitzero"`
	Policy   string            `json:"policy"`
	Tags     map[string]string `json:"tags,omitempty"`
	Rotation rotation          `json:"rotation"`
	// Materials are the versions of the key's material, the last encrypts.
	Materials []material `json:"materials"`
}

// rotation is a key's automatic rotation.
type rotation struct {
	Enabled bool      `json:"enabled,omitempty"`
	Days    int       `json:"days,omitempty"`
	Next    time.Time `json:"next,omitzero"`
}

// material is a version of a key's material.
type material struct {
	Version  uint32    `json:"version"`
	Created  time.Time `json:"created"`
	OnDemand bool      `json:"onDemand,omitempty"` // somebody asked for it
	// Sealed is the material, sealed by the Keeper.
	Sealed []byte `json:"sealed"`
}

var (
	accountPattern = regexp.MustCompile(`^[0-9]{12}$`)
	uuidPattern    = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$`)
)

func checkKey(at table.Key, k *key) error {
	switch {
	case k.Account != at.Account || k.ID != at.Name:
		return fmt.Errorf("it is the record of %.40q in account %.20q", k.ID, k.Account)
	case !accountPattern.MatchString(k.Account) || !uuidPattern.MatchString(k.ID):
		return errors.New("its key is no UUID in an account")
	case k.Manager != managedByAWS && k.Manager != managedByCustomer:
		return fmt.Errorf("manager %.20q", k.Manager)
	case k.State != enabled && k.State != disabled && k.State != pendingDeletion:
		return fmt.Errorf("state %.20q", k.State)
	case (k.State == pendingDeletion) == k.Deletion.IsZero():
		return errors.New("its date of deletion does not fit its state")
	case len(k.Materials) == 0 || len(k.Materials) > maxMaterials:
		return fmt.Errorf("%d versions of its material", len(k.Materials))
	}
	for i, m := range k.Materials {
		if int64(m.Version) != int64(i)+1 || len(m.Sealed) == 0 {
			return fmt.Errorf("material %d in place %d", m.Version, i+1)
		}
	}
	return nil
}

func (k *key) clone() *key {
	c := *k
	c.Tags = maps.Clone(k.Tags)
	c.Materials = slices.Clone(k.Materials)
	return &c
}

func (k *key) arn() string { return keyARN(k.Region, k.Account, k.ID) }

func (k *key) current() material { return k.Materials[len(k.Materials)-1] }

// gone says that a key's time has come, though its record is still there.
func (k *key) gone(now time.Time) bool { return k.State == pendingDeletion && !now.Before(k.Deletion) }

func keyARN(region, account, id string) string {
	return "arn:aws:kms:" + region + ":" + account + ":key/" + id
}

func tableKey(account, id string) table.Key { return table.Key{Account: account, Name: id} }

// materialBinding is the place that a version of a key's material is sealed
// for.
func materialBinding(account, id string, version uint32) keyring.Binding {
	return keyring.Binding{Account: account, Purpose: "kms-key-material", Record: id + "/" + strconv.FormatUint(uint64(version), 10)}
}

// managedID is the id of the key that a service of AWS has in an account. It
// follows from their names, so that two who make it at once make the same.
func managedID(region, account, service string) string {
	sum := sha256.Sum256([]byte("hearth managed key\x00" + region + "\x00" + account + "\x00" + service))
	var id uuid.UUID
	copy(id[:], sum[:])
	id[6] = id[6]&0x0f | 0x80 // version 8: made in a way of one's own
	id[8] = id[8]&0x3f | 0x80
	return id.String()
}

// metadata is AWS's KeyMetadata.
type metadata struct {
	AWSAccountID          string   `json:"AWSAccountId"`
	ARN                   string   `json:"Arn"`
	CreationDate          epoch    `json:"CreationDate"`
	CustomerMasterKeySpec string   `json:"CustomerMasterKeySpec"`
	DeletionDate          *epoch   `json:"DeletionDate,omitempty"`
	Description           string   `json:"Description"`
	Enabled               bool     `json:"Enabled"`
	EncryptionAlgorithms  []string `json:"EncryptionAlgorithms"`
	KeyID                 string   `json:"KeyId"`
	KeyManager            string   `json:"KeyManager"`
	KeySpec               string   `json:"KeySpec"`
	KeyState              string   `json:"KeyState"`
	KeyUsage              string   `json:"KeyUsage"`
	MultiRegion           bool     `json:"MultiRegion"`
	Origin                string   `json:"Origin"`
}

// symmetric is the one kind of key, and the one algorithm of these.
const symmetric = "SYMMETRIC_DEFAULT"

// encryptDecrypt is the one use of keys.
const encryptDecrypt = "ENCRYPT_DECRYPT"

func (k *key) metadata() metadata {
	m := metadata{
		AWSAccountID: k.Account, ARN: k.arn(), CreationDate: epoch(k.Created), CustomerMasterKeySpec: symmetric,
		Description: k.Description, Enabled: k.State == enabled, EncryptionAlgorithms: []string{symmetric},
		KeyID: k.ID, KeyManager: k.Manager, KeySpec: symmetric, KeyState: k.State, KeyUsage: encryptDecrypt, Origin: "AWS_KMS",
	}
	if k.State == pendingDeletion {
		d := epoch(k.Deletion)
		m.DeletionDate = &d
	}
	return m
}

// epoch is a time as the JSON protocols write it: seconds since 1970.
type epoch time.Time

// MarshalJSON implements json.Marshaler.
func (e epoch) MarshalJSON() ([]byte, error) {
	milli := time.Time(e).UnixMilli()
	return fmt.Appendf(nil, "%d.%03d", milli/1000, milli%1000), nil
}
