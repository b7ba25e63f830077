// Package delta says which blocks of a new image a device must fetch, and where
// on the device the others are: it compares the hashes of 4 KiB blocks that
// the images' hash trees hold. It reads no image and no network.
//
//	new tree, old trees -> Plan -> Missing -> Plan.Fetch(gap, limit) -> ranges to ask for
//	                            -> Copies
//
// A block is the same when its whole salted SHA-256 is. Old trees are only
// looked through when they were made with the new one's salt.
//
// # Memory
//
// An old block takes 10 bytes, a new one 4, a missing one 8 more while the plan
// is made: 16 MB for two images of 3 GiB that have nothing in common. The
// hashes themselves stay where the trees have them, which may be a file.
//
// The old blocks stand in a table of buckets, one for every four blocks, in the
// order of the first bits of their hashes. An entry has the next 32 bits and
// the block's number; what it finds is compared with the hash in the tree. Of
// equal blocks the table has the first.
package delta
