package ca

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"hearth/internal/datadir"
)

// Files of a node's directory.
const (
	keyFile       = "node.key"
	certFile      = "node.crt"
	authorityFile = "ca.crt"
)

// Files are the paths of a node's key and certificates.
type Files struct{ Key, Cert, Authority string }

// FilesIn are the files of a directory.
func FilesIn(dir string) Files {
	return Files{Key: filepath.Join(dir, keyFile), Cert: filepath.Join(dir, certFile), Authority: filepath.Join(dir, authorityFile)}
}

// Save writes a node's key and certificates to a directory, which it makes.
func Save(dir string, key, cert, authority []byte) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("ca: %w", err)
	}
	// The certificate last: it is what a reader looks at.
	for _, f := range []struct {
		name    string
		content []byte
	}{{keyFile, key}, {authorityFile, authority}, {certFile, cert}} {
		if err := datadir.SecretIn(dir, f.name).Save(f.content); err != nil {
			return fmt.Errorf("ca: %w", err)
		}
	}
	return nil
}

// Node is this process: its certificate, and whom it believes.
type Node struct {
	files Files

	mu       sync.Mutex
	looked   time.Time // when the files were last looked at
	changed  time.Time // the certificate's modification time then
	cert     *tls.Certificate
	identity Identity
	pool     *x509.CertPool
}

// lookEvery is how often the files are looked at for a new certificate.
const lookEvery = 10 * time.Second

// Load reads a node's key and certificates.
func Load(dir string) (*Node, error) {
	n := &Node{files: FilesIn(dir)}
	n.mu.Lock()
	defer n.mu.Unlock()
	if err := n.load(); err != nil {
		return nil, err
	}
	n.looked = time.Now()
	return n, nil
}

func (n *Node) load() error {
	info, err := os.Stat(n.files.Cert)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("ca: %s: there is no certificate; this node has not joined a cluster yet: hearth cluster join", n.files.Cert)
	}
	if err != nil {
		return fmt.Errorf("ca: %w", err)
	}
	cert, err := tls.LoadX509KeyPair(n.files.Cert, n.files.Key)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	authority, err := os.ReadFile(n.files.Authority)
	if err != nil {
		return fmt.Errorf("ca: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(authority) {
		return ErrDamaged
	}
	identity, err := identityOf(cert.Leaf)
	if err != nil {
		return err
	}
	n.cert, n.pool, n.identity, n.changed = &cert, pool, identity, info.ModTime()
	return nil
}

// current is the certificate, which may have been replaced. One that cannot be
// read is not used: the one before goes on.
func (n *Node) current() (*tls.Certificate, *x509.CertPool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if now := time.Now(); now.Sub(n.looked) > lookEvery {
		n.looked = now
		if info, err := os.Stat(n.files.Cert); err == nil && !info.ModTime().Equal(n.changed) {
			_ = n.load() // half of a replacement; it is looked at again
		}
	}
	return n.cert, n.pool
}

// Identity is who this process is.
func (n *Node) Identity() Identity {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.identity
}

// Files are where the node's certificate is read from.
func (n *Node) Files() Files { return n.files }

// Server is how this process takes connections: from nodes of its cluster only.
func (n *Node) Server() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		ClientAuth: tls.RequireAnyClientCert, // VerifyConnection looks at it
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			cert, _ := n.current()
			return cert, nil
		},
		VerifyConnection: func(s tls.ConnectionState) error {
			_, err := n.verify(s, x509.ExtKeyUsageClientAuth)
			return err
		},
	}
}

// Client is how this process connects to a node that has one of the roles. A
// node is known by its certificate, wherever it is.
func (n *Node) Client(roles ...Role) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		// The name of a host is not what is verified: VerifyConnection does.
		InsecureSkipVerify: true, //nolint:gosec // see above
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			cert, _ := n.current()
			return cert, nil
		},
		VerifyConnection: func(s tls.ConnectionState) error {
			peer, err := n.verify(s, x509.ExtKeyUsageServerAuth)
			if err == nil && !peer.Has(roles...) {
				err = fmt.Errorf("%w: %s has the roles %v, not %v", ErrIdentity, peer.Name, peer.Roles, roles)
			}
			return err
		},
	}
}

// verify checks a peer's certificates. It is called on resumed connections too.
func (n *Node) verify(s tls.ConnectionState, usage x509.ExtKeyUsage) (Identity, error) {
	if len(s.PeerCertificates) == 0 {
		return Identity{}, ErrIdentity
	}
	_, pool := n.current()
	leaf := s.PeerCertificates[0]
	if _, err := leaf.Verify(x509.VerifyOptions{Roots: pool, KeyUsages: []x509.ExtKeyUsage{usage}}); err != nil {
		return Identity{}, fmt.Errorf("%w: %w", ErrIdentity, err)
	}
	peer, err := identityOf(leaf)
	if err != nil {
		return Identity{}, err
	}
	if own := n.Identity().Cluster; peer.Cluster != own {
		return Identity{}, fmt.Errorf("%w: it is of cluster %s, this is %s", ErrIdentity, peer.Cluster, own)
	}
	return peer, nil
}

// Peer is who is at the other end of a connection that Server or Client has
// verified.
func Peer(s tls.ConnectionState) (Identity, error) {
	if len(s.PeerCertificates) == 0 {
		return Identity{}, ErrIdentity
	}
	return identityOf(s.PeerCertificates[0])
}

// EtcdMember and EtcdClient are the names that certificates of etcd's members,
// and of those who may use it, have.
func EtcdMember() string { return memberName }

// EtcdClient is the name in certificates of those who may use etcd.
func EtcdClient() string { return clientName }
