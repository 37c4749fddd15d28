package netns

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// forbidden are the destinations that no sandbox reaches, beside the host
// itself, which the input chain keeps.
var forbidden = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"),      // this network
	netip.MustParsePrefix("10.0.0.0/8"),     // private
	netip.MustParsePrefix("100.64.0.0/10"),  // shared: carriers and clouds
	netip.MustParsePrefix("127.0.0.0/8"),    // loopback
	netip.MustParsePrefix("169.254.0.0/16"), // link-local: instance metadata
	netip.MustParsePrefix("172.16.0.0/12"),  // private
	netip.MustParsePrefix("192.0.0.0/24"),   // protocol assignments
	netip.MustParsePrefix("192.168.0.0/16"), // private
	netip.MustParsePrefix("198.18.0.0/15"),  // the sandboxes themselves
	netip.MustParsePrefix("224.0.0.0/3"),    // multicast, reserved, broadcast
}

func (n *Network) table() *nftables.Table {
	return &nftables.Table{Family: nftables.TableFamilyINet, Name: "hearth_" + n.instance}
}

// sources is the set of (interface, address) pairs that may send.
func (n *Network) sources() *nftables.Set {
	return &nftables.Set{
		Table: n.table(), Name: "sources",
		KeyType: nftables.MustConcatSetType(nftables.TypeIFName, nftables.TypeIPAddr), Concatenation: true,
	}
}

func source(name string, address netip.Addr) []nftables.SetElement {
	key := make([]byte, unix.IFNAMSIZ, unix.IFNAMSIZ+4)
	copy(key, name)
	return []nftables.SetElement{{Key: append(key, address.AsSlice()...)}}
}

// allow lets an interface send with an address.
func (n *Network) allow(name string, address netip.Addr) error {
	conn, err := nftables.New()
	if err != nil {
		return err
	}
	if err := conn.SetAddElements(n.sources(), source(name, address)); err != nil {
		return err
	}
	return flush(conn, "allow "+name)
}

func (n *Network) disallow(name string, address netip.Addr) error {
	conn, err := nftables.New()
	if err != nil {
		return err
	}
	if err := conn.SetDeleteElements(n.sources(), source(name, address)); err != nil {
		return err
	}
	if err := flush(conn, "disallow "+name); !errors.Is(err, unix.ENOENT) {
		return err
	}
	return nil // it was never allowed
}

func flush(conn *nftables.Conn, what string) error {
	if err := conn.Flush(); err != nil {
		return fmt.Errorf("packet filter: %s: %w", what, err)
	}
	return nil
}

func (n *Network) removeTable() error {
	conn, err := nftables.New()
	if err != nil {
		return err
	}
	// Adding first makes deleting succeed whether or not it is there.
	conn.AddTable(n.table())
	conn.DelTable(n.table())
	return flush(conn, "remove table")
}

// addTable puts the rules in place, all or none of them. With isolate,
// nothing but the sandboxes' packets is forwarded by this host.
func (n *Network) addTable(isolate bool) error {
	conn, err := nftables.New()
	if err != nil {
		return err
	}
	conn.AddTable(n.table())
	conn.DelTable(n.table()) // of a former life
	table := conn.AddTable(n.table())
	sources := n.sources()
	if err := conn.AddSet(sources, nil); err != nil {
		return err
	}
	near := &nftables.Set{Table: table, Name: "near", KeyType: nftables.TypeIPAddr, Interval: true}
	if err := conn.AddSet(near, intervals(forbidden)); err != nil {
		return err
	}
	chain := chains(conn, table)
	from, to := n.name(expr.MetaKeyIIFNAME, expr.CmpOpEq), n.name(expr.MetaKeyOIFNAME, expr.CmpOpEq)
	notFrom, notTo := n.name(expr.MetaKeyIIFNAME, expr.CmpOpNeq), n.name(expr.MetaKeyOIFNAME, expr.CmpOpNeq)

	// Before anything else looks at a packet: what must not be sent at all.
	sent := chain("sent", nftables.ChainTypeFilter, nftables.ChainHookPrerouting, nftables.ChainPriorityRaw)
	sent(from, protocol(expr.CmpOpNeq, unix.NFPROTO_IPV4), drop)
	sent(from, unlisted(sources), drop)
	if len(n.resolvers) > 0 {
		resolvers := &nftables.Set{Table: table, Name: "resolvers", KeyType: nftables.TypeIPAddr}
		if err := conn.AddSet(resolvers, elements(n.resolvers)); err != nil {
			return err
		}
		for _, transport := range []byte{unix.IPPROTO_UDP, unix.IPPROTO_TCP} {
			sent(from, destination(resolvers), port(transport, 53), accept)
		}
	}
	sent(from, destination(near), drop)

	host := chain("host", nftables.ChainTypeFilter, nftables.ChainHookInput, nftables.ChainPriorityFilter)
	host(from, drop)

	forward := chain("forward", nftables.ChainTypeFilter, nftables.ChainHookForward, nftables.ChainPriorityFilter)
	forward(to, from, drop)
	forward(to, unanswered, drop)
	if isolate {
		forward(notFrom, notTo, drop)
	}

	nat := chain("nat", nftables.ChainTypeNAT, nftables.ChainHookPostrouting, nftables.ChainPriorityNATSource)
	nat(protocol(expr.CmpOpEq, unix.NFPROTO_IPV4), fromPool(), notTo, []expr.Any{&expr.Masq{}})
	return flush(conn, "add table")
}

// chains adds chains to a table; what adds one returns what adds its rules.
func chains(conn *nftables.Conn, table *nftables.Table) func(
	name string, kind nftables.ChainType, hook *nftables.ChainHook, priority *nftables.ChainPriority) func(...[]expr.Any) {
	return func(name string, kind nftables.ChainType, hook *nftables.ChainHook, priority *nftables.ChainPriority) func(...[]expr.Any) {
		c := conn.AddChain(&nftables.Chain{Name: name, Table: table, Type: kind, Hooknum: hook, Priority: priority})
		return func(parts ...[]expr.Any) {
			rule := &nftables.Rule{Table: table, Chain: c}
			for _, part := range parts {
				rule.Exprs = append(rule.Exprs, part...)
			}
			conn.AddRule(rule)
		}
	}
}

var (
	drop   = []expr.Any{&expr.Verdict{Kind: expr.VerdictDrop}}
	accept = []expr.Any{&expr.Verdict{Kind: expr.VerdictAccept}} // by this chain
)

// unanswered matches packets that belong to no connection begun by a sandbox.
var unanswered = []expr.Any{
	&expr.Ct{Register: 1, Key: expr.CtKeySTATE},
	&expr.Bitwise{
		SourceRegister: 1, DestRegister: 1, Len: 4, Xor: make([]byte, 4),
		Mask: binaryutil.NativeEndian.PutUint32(expr.CtStateBitESTABLISHED | expr.CtStateBitRELATED),
	},
	&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: make([]byte, 4)},
}

// name matches interfaces of ours by prefix: a comparison of fewer bytes than
// a name has.
func (n *Network) name(key expr.MetaKey, op expr.CmpOp) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: key, Register: 1},
		&expr.Cmp{Op: op, Register: 1, Data: []byte(n.prefix())},
	}
}

func protocol(op expr.CmpOp, family byte) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: 1},
		&expr.Cmp{Op: op, Register: 1, Data: []byte{family}},
	}
}

// Offsets of the addresses in an IPv4 header (RFC 791).
const (
	sourceOffset      = 12
	destinationOffset = 16
)

func address(register, offset uint32) expr.Any {
	return &expr.Payload{DestRegister: register, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: 4}
}

// unlisted matches senders that are not in the set. The name fills the 16
// bytes of register 1, the address follows in register 2.
func unlisted(set *nftables.Set) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: 1},
		address(2, sourceOffset),
		&expr.Lookup{SourceRegister: 1, SetName: set.Name, SetID: set.ID, Invert: true},
	}
}

func destination(set *nftables.Set) []expr.Any {
	return []expr.Any{
		address(1, destinationOffset),
		&expr.Lookup{SourceRegister: 1, SetName: set.Name, SetID: set.ID},
	}
}

// port matches a destination port of a transport protocol.
func port(transport, number byte) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{transport}},
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{0, number}},
	}
}

func fromPool() []expr.Any {
	mask := []byte{0xff, 0xfe, 0, 0} // of pool, a /15
	return []expr.Any{
		address(1, sourceOffset),
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: mask, Xor: make([]byte, 4)},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: pool.Addr().AsSlice()},
	}
}

func elements(addresses []netip.Addr) []nftables.SetElement {
	var all []nftables.SetElement
	for _, a := range addresses {
		all = append(all, nftables.SetElement{Key: a.AsSlice()})
	}
	return all
}

// intervals gives the elements of an interval set: where each prefix begins,
// and where the next address after it is.
func intervals(prefixes []netip.Prefix) []nftables.SetElement {
	var elements []nftables.SetElement
	for _, prefix := range prefixes {
		elements = append(elements, nftables.SetElement{Key: prefix.Addr().AsSlice()})
		if next := after(prefix); next.IsValid() {
			elements = append(elements, nftables.SetElement{Key: next.AsSlice(), IntervalEnd: true})
		}
	}
	return elements
}

// after is the first address beyond a prefix. Past the last one there is none.
func after(prefix netip.Prefix) netip.Addr {
	last := prefix.Addr().As4()
	for bit := prefix.Bits(); bit < 32; bit++ {
		last[bit/8] |= 1 << (7 - bit%8)
	}
	return netip.AddrFrom4(last).Next()
}
