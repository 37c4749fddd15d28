package artifact

import (
	"context"
	"crypto/rand"
	"fmt"

	clientv3 "go.etcd.io/etcd/client/v3"

	"hearth/internal/chunk"
	"hearth/internal/keyring"
)

// saltKey is where the salt of the first epoch is, sealed.
const saltKey = "hearth/chunk-salt/1"

// LoadSalt returns the cluster's salt, which is made the first time. It is a
// secret: whoever has it can tell by a chunk's name that they guess its content.
func LoadSalt(ctx context.Context, client *clientv3.Client, keys Keys, account string) (chunk.Salt, error) {
	salt := chunk.Salt{Epoch: 1}
	place := keyring.Binding{Account: account, Purpose: "chunk-salt", Record: saltKey}
	rand.Read(salt.Secret[:]) // never fails: it ends the program instead
	sealed, err := keys.Seal(ctx, place, salt.Secret[:])
	if err != nil {
		return chunk.Salt{}, fmt.Errorf("artifact: seal salt: %w", err)
	}
	// Who comes first has made it, for all.
	answer, err := client.Txn(ctx).If(clientv3.Compare(clientv3.CreateRevision(saltKey), "=", 0)).
		Then(clientv3.OpPut(saltKey, string(sealed))).Else(clientv3.OpGet(saltKey)).Commit()
	if err != nil {
		return chunk.Salt{}, fmt.Errorf("artifact: load salt: %w", err)
	}
	if answer.Succeeded {
		return salt, nil
	}
	secret, err := keys.Open(ctx, place, answer.Responses[0].GetResponseRange().Kvs[0].Value)
	if err != nil {
		return chunk.Salt{}, fmt.Errorf("artifact: open salt: %w", err)
	}
	if copy(salt.Secret[:], secret) != len(salt.Secret) {
		return chunk.Salt{}, fmt.Errorf("artifact: the salt has %d bytes", len(secret))
	}
	return salt, nil
}
