// Package delta says which blocks of a new image a device must fetch, and where
// on the device the others are: it compares the hashes of 4 KiB blocks that
// the images' hash trees hold. It reads no image and no network.
//
//	new tree, old trees -> Plan -> Missing -> Plan.Fetch(gap, limit) -> ranges to ask for
//	                            -> Copies
//
// A block is the same when its whole salted SHA-256 is. Old trees are only
// looked through when they were made with the new one's salt. One old image may
// be what the new one is written over: see Source.Under.
//
// # Memory
//
// A new block takes 13 bytes while the plan is made, and an old one none: 10 MB
// for an image of 3 GiB, whatever it is compared with. The hashes themselves
// stay where the trees have them, which may be a file; an old image's are read
// once, in order.
//
// The new blocks stand in a table of buckets, one for every four blocks, in the
// order of the first bits of their hashes. An entry has the next 32 bits and
// the block's number; what it finds is compared with the hash in the tree. Of
// equal blocks the table has the first, of which the others are copies.
//
// # Ranges
//
// Each range costs a request, each gap that is joined the bytes in it. On an
// upgrade of 36 packages of 335 and the kernel (Debian 12, image of 258 MB, 66.5
// MB missing) the gap gives
//
//	gap     0     4K    16K   32K   64K   128K  256K  1M
//	ranges  178   165   153   133   110   80    65    31
//	waste   0     0.05  0.20  0.74  1.9   4.5   7.4   26  MB
//
// and a limit of 100 or 50 ranges without a gap 2.6 and 12.7 MB: bridging the
// smallest gaps first is the least waste for a number of ranges. A gap is worth
// bridging up to what the line carries in the time that a request takes: 12 KB
// at 1 Mbit/s and 100 ms.
package delta
