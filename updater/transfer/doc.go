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
// all the others. The rest is fetched in ranges, several at once, each of which
// is written as it comes.
//
// # Going on
//
// The hash tree is in the slot before any block is, and only right blocks are
// written. So a transfer that was killed is gone on with by a new plan, for
// which the target is read (Target.Scan); no record is kept.
//
// # Memory
//
// For each range in flight 64 KiB of blocks, for each processor 256 KiB, each
// with 64 KiB of hashes, and what the plan takes (package delta). The trees'
// hashes stay where the trees have them.
package transfer
