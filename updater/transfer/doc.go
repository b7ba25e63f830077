// Package transfer brings an update into a slot: what the device has of it is
// copied, the rest is fetched, and every block is checked against the hash
// tree before it is written.
//
//	tree, slots, target -> New -> Plan (what would be fetched) -> Run -> Sink
//
// # Where blocks come from
//
// First from where they stand: what the target holds already, because an
// earlier transfer was interrupted, or because the image that it held has the
// same block there. Then from other slots, then from elsewhere in the target,
// as long as it is not overwritten. What is copied is read and hashed again
// before it is used; a block that is not what its tree said is fetched after
// all the others. The rest is fetched in ranges, several at once, and used in
// order.
//
// # Memory
//
// 1 MiB for each range in flight, 256 KiB for each processor, and what the
// plan takes (package delta). The trees' hashes stay where the trees have them.
package transfer
