package ca_test

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"hearth/internal/ca"
)

func authority(t *testing.T, cluster string) *ca.Authority {
	t.Helper()
	a, err := ca.NewAuthority(cluster, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// enrol makes a node of a cluster.
func enrol(t *testing.T, a *ca.Authority, name string, at time.Time, roles ...ca.Role) *ca.Node {
	t.Helper()
	dir := t.TempDir()
	renew(t, a, dir, name, at, roles...)
	n, err := ca.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func renew(t *testing.T, a *ca.Authority, dir, name string, at time.Time, roles ...ca.Role) {
	t.Helper()
	key, request, err := ca.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	cert, err := a.Sign(request, ca.Identity{Zone: "az1", Name: name, Roles: roles}, []string{"127.0.0.1"}, at)
	if err != nil {
		t.Fatal(err)
	}
	if err := ca.Save(dir, key, cert, a.Certificate()); err != nil {
		t.Fatal(err)
	}
}

// shake has a client connect to a server and returns whom each saw.
func shake(t *testing.T, server, client *tls.Config) (atServer, atClient ca.Identity, err error) {
	t.Helper()
	l, err := tls.Listen("tcp", "127.0.0.1:0", server)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	type result struct {
		id  ca.Identity
		err error
	}
	served := make(chan result, 1)
	go func() {
		c, err := l.Accept()
		if err != nil {
			served <- result{err: err}
			return
		}
		defer c.Close()
		conn, _ := c.(*tls.Conn)
		if err := conn.HandshakeContext(context.Background()); err != nil {
			served <- result{err: err}
			return
		}
		id, err := ca.Peer(conn.ConnectionState())
		_, writeErr := conn.Write([]byte("x"))
		served <- result{id, errors.Join(err, writeErr)}
	}()
	d := tls.Dialer{NetDialer: &net.Dialer{Timeout: 5 * time.Second}, Config: client}
	c, err := d.DialContext(t.Context(), "tcp", l.Addr().String())
	if err == nil {
		// In TLS 1.3 a client hears of a server's refusal when it reads.
		_, err = c.Read(make([]byte, 1))
		conn, _ := c.(*tls.Conn)
		if err == nil {
			atClient, err = ca.Peer(conn.ConnectionState())
		}
		_ = c.Close()
	}
	s := <-served
	return s.id, atClient, errors.Join(err, s.err)
}

func TestEachSeesTheOther(t *testing.T) {
	a := authority(t, "one")
	server := enrol(t, a, "s", time.Now(), ca.Worker)
	client := enrol(t, a, "c", time.Now(), ca.Assignment, ca.Frontend)
	atServer, atClient, err := shake(t, server.Server(), client.Client(ca.Worker))
	if err != nil {
		t.Fatal(err)
	}
	if atServer.Name != "c" || !slices.Equal(atServer.Roles, []ca.Role{ca.Assignment, ca.Frontend}) || atServer.Zone != "az1" || atServer.Cluster != "one" {
		t.Errorf("the server saw %+v", atServer)
	}
	if atClient.Name != "s" {
		t.Errorf("the client saw %+v", atClient)
	}
}

func TestStrangersAreRefused(t *testing.T) {
	a, other := authority(t, "one"), authority(t, "one")
	node := enrol(t, a, "n", time.Now(), ca.Worker)
	for name, tt := range map[string]struct{ server, client *tls.Config }{
		"client of another authority": {node.Server(), enrol(t, other, "c", time.Now(), ca.Worker).Client(ca.Worker)},
		"server of another authority": {enrol(t, other, "s", time.Now(), ca.Worker).Server(), node.Client(ca.Worker)},
		"client without certificate":  {node.Server(), &tls.Config{InsecureSkipVerify: true}},
		"server of another role":      {node.Server(), enrol(t, a, "c", time.Now(), ca.Worker).Client(ca.State)},
		"expired client":              {node.Server(), enrol(t, a, "c", time.Now().Add(-2*ca.NodeLife), ca.Worker).Client(ca.Worker)},
		"expired server":              {enrol(t, a, "s", time.Now().Add(-2*ca.NodeLife), ca.Worker).Server(), node.Client(ca.Worker)},
	} {
		if _, _, err := shake(t, tt.server, tt.client); err == nil {
			t.Errorf("%s: the two have shaken hands", name)
		}
	}
}

// The same key must not make two clusters one.
func TestAnotherClustersCertificate(t *testing.T) {
	a := authority(t, "one")
	encoded, err := a.Encode()
	if err != nil {
		t.Fatal(err)
	}
	renamed, err := ca.ParseAuthority("two", encoded)
	if err != nil {
		t.Fatal(err)
	}
	node := enrol(t, a, "n", time.Now(), ca.Worker)
	if _, _, err := shake(t, node.Server(), enrol(t, renamed, "c", time.Now(), ca.Worker).Client(ca.Worker)); err == nil {
		t.Error("nodes of two clusters have shaken hands")
	}
}

func TestSignRefuses(t *testing.T) {
	a := authority(t, "one")
	_, request, err := ca.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	good := ca.Identity{Zone: "az1", Name: "n", Roles: []ca.Role{ca.Worker}}
	for name, tt := range map[string]struct {
		request []byte
		id      ca.Identity
		hosts   []string
	}{
		"no request":          {[]byte("x"), good, nil},
		"no role":             {request, ca.Identity{Zone: "az1", Name: "n"}, nil},
		"unknown role":        {request, ca.Identity{Zone: "az1", Name: "n", Roles: []ca.Role{"root"}}, nil},
		"name with a slash":   {request, ca.Identity{Zone: "az1", Name: "n/m", Roles: good.Roles}, nil},
		"etcd's name as host": {request, good, []string{ca.EtcdMember()}},
		"no host":             {request, good, []string{"a b"}},
	} {
		if _, err := a.Sign(tt.request, tt.id, tt.hosts, time.Now()); err == nil {
			t.Errorf("%s: signed", name)
		}
	}
	if _, err := a.Sign(request, good, []string{"10.0.0.1", "host.example"}, time.Now()); err != nil {
		t.Error(err)
	}
}

// Workers must not get into etcd.
func TestNamesForEtcd(t *testing.T) {
	a := authority(t, "one")
	for role, want := range map[ca.Role][2]bool{ // member, client
		ca.State: {true, true}, ca.Frontend: {false, true}, ca.Assignment: {false, true}, ca.Worker: {false, false},
	} {
		n := enrol(t, a, "n", time.Now(), role)
		cert, err := n.Client(ca.State).GetClientCertificate(nil)
		if err != nil {
			t.Fatal(err)
		}
		got := [2]bool{cert.Leaf.VerifyHostname(ca.EtcdMember()) == nil, cert.Leaf.VerifyHostname(ca.EtcdClient()) == nil}
		if got != want {
			t.Errorf("%s: got %v, want %v", role, got, want)
		}
	}
}

func TestFiles(t *testing.T) {
	a := authority(t, "one")
	dir := filepath.Join(t.TempDir(), "node")
	if _, err := ca.Load(dir); err == nil {
		t.Error("a node without a certificate was loaded")
	}
	renew(t, a, dir, "n", time.Now(), ca.Worker)
	for _, path := range []string{ca.FilesIn(dir).Key, ca.FilesIn(dir).Cert} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s: %v, %v", path, info.Mode(), err)
		}
	}
	if err := os.WriteFile(ca.FilesIn(dir).Key, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ca.Load(dir); !errors.Is(err, ca.ErrDamaged) {
		t.Errorf("damaged key: got %v", err)
	}
	if _, err := ca.ParseAuthority("one", []byte("x")); !errors.Is(err, ca.ErrDamaged) {
		t.Errorf("damaged authority: got %v", err)
	}
}
