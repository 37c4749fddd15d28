// Package cluster wires the services of one Hearth process together: it is the
// one place that knows them all. Each is built from its Config, given the
// others behind the small interfaces that it asks for, started in order of
// dependence and stopped in the reverse.
//
// So far every role runs in one process over an embedded etcd and a directory
// as object store.
package cluster
