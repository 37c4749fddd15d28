package ca

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"regexp"
	"strings"
	"time"
)

const (
	// authorityLife is how long the authority's own certificate is valid.
	authorityLife = 20 * 365 * 24 * time.Hour
	// NodeLife is how long a node's certificate is valid. A node asks for another
	// when a third of it is left.
	NodeLife = 90 * 24 * time.Hour
	// skew is how far back certificates are valid, for clocks that differ.
	skew = 5 * time.Minute
)

// Authority signs the certificates of a cluster's nodes.
type Authority struct {
	cluster string
	cert    *x509.Certificate
	key     *ecdsa.PrivateKey
}

// NewAuthority makes the authority of a new cluster.
func NewAuthority(cluster string, now time.Time) (*Authority, error) {
	if !label.MatchString(cluster) {
		return nil, fmt.Errorf("ca: cluster %.64q: want up to 63 lower-case letters, digits and dashes", cluster)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("ca: %w", err)
	}
	template := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{Organization: []string{"Hearth"}, CommonName: "cluster " + cluster},
		NotBefore: now.Add(-skew), NotAfter: now.Add(authorityLife),
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("ca: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("ca: %w", err)
	}
	return &Authority{cluster: cluster, cert: cert, key: key}, nil
}

func serial() *big.Int {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	return new(big.Int).SetBytes(b[:])
}

// Cluster is the cluster's name.
func (a *Authority) Cluster() string { return a.cluster }

// Certificate is the authority's own, as PEM.
func (a *Authority) Certificate() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: blockCertificate, Bytes: a.cert.Raw})
}

const (
	blockCertificate = "CERTIFICATE"
	blockKey         = "PRIVATE KEY"
	blockRequest     = "CERTIFICATE REQUEST"
)

// Encode returns the authority with its key, as PEM: a secret.
func (a *Authority) Encode() ([]byte, error) {
	key, err := x509.MarshalPKCS8PrivateKey(a.key)
	if err != nil {
		return nil, fmt.Errorf("ca: %w", err)
	}
	return append(a.Certificate(), pem.EncodeToMemory(&pem.Block{Type: blockKey, Bytes: key})...), nil
}

// ErrDamaged says that a file of certificates or keys cannot be read.
var ErrDamaged = errors.New("ca: damaged certificate or key; restore it from a backup")

// ParseAuthority reads what Encode has written.
func ParseAuthority(cluster string, encoded []byte) (*Authority, error) {
	block, rest := pem.Decode(encoded)
	if block == nil || block.Type != blockCertificate {
		return nil, ErrDamaged
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	if block, _ = pem.Decode(rest); block == nil || block.Type != blockKey {
		return nil, ErrDamaged
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	private, ok := key.(*ecdsa.PrivateKey)
	if !ok || !private.PublicKey.Equal(cert.PublicKey) {
		return nil, ErrDamaged
	}
	return &Authority{cluster: cluster, cert: cert, key: private}, nil
}

// NewKey makes a node's key, as PEM, and the request for its certificate.
func NewKey() (key, request []byte, err error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("ca: %w", err)
	}
	encoded, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return nil, nil, fmt.Errorf("ca: %w", err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, private)
	if err != nil {
		return nil, nil, fmt.Errorf("ca: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: blockKey, Bytes: encoded}),
		pem.EncodeToMemory(&pem.Block{Type: blockRequest, Bytes: der}), nil
}

var hostName = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$`)

// Sign makes the certificate of a node, as PEM. Of the request only the public
// key counts. hosts are the addresses that the node is reached at.
func (a *Authority) Sign(request []byte, id Identity, hosts []string, now time.Time) ([]byte, error) {
	id.Cluster = a.cluster
	if err := id.Validate(); err != nil {
		return nil, fmt.Errorf("ca: %w", err)
	}
	block, _ := pem.Decode(request)
	if block == nil || block.Type != blockRequest {
		return nil, errors.New("ca: the request for a certificate is not one")
	}
	csr, err := x509.ParseCertificateRequest(block.Bytes)
	if err == nil {
		err = csr.CheckSignature()
	}
	if err != nil {
		return nil, fmt.Errorf("ca: the request for a certificate is not one: %w", err)
	}
	if key, ok := csr.PublicKey.(*ecdsa.PublicKey); !ok || key.Curve != elliptic.P256() {
		return nil, errors.New("ca: a node's key must be of the curve P-256")
	}
	template := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{Organization: []string{"Hearth"}, CommonName: id.Name},
		NotBefore: now.Add(-skew), NotAfter: now.Add(NodeLife),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
	}
	template.URIs = append(template.URIs, id.uri())
	for _, host := range hosts {
		if ip := net.ParseIP(host); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else if !hostName.MatchString(host) || strings.HasSuffix(host, ".hearth.internal") {
			return nil, fmt.Errorf("ca: host %.64q: want an IP address or a host's name", host)
		} else {
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	if id.Has(State) {
		template.DNSNames = append(template.DNSNames, memberName)
	}
	if id.Has(State, Frontend, Assignment) {
		template.DNSNames = append(template.DNSNames, clientName)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, csr.PublicKey, a.key)
	if err != nil {
		return nil, fmt.Errorf("ca: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: blockCertificate, Bytes: der}), nil
}
