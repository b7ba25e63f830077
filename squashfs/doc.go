// Package squashfs writes squashfs 4.0 images in one forward pass: contents go
// in, in any order, then the tree of names, and bytes go to a Sink that never
// has to seek. Nothing is stored in between, so an image can be streamed from
// a registry into a slot.
//
// # Order of the image
//
//	block 0      superblock in its first 96 bytes; written last, by Sink.WriteFirst
//	content      runs of data blocks and fragment blocks, in the order of File
//	inodes       metadata blocks; a directory's inode follows those of its entries
//	directories  metadata blocks; sorted names, 256 at most under a header
//	fragments    where each fragment block is        \
//	export       where each inode is, by number       | metadata blocks, then an
//	ids          the user and group numbers           | index of their positions
//	xattrs       long values, sets, table of sets    /
//
// The names of the structures are those of the kernel's
// fs/squashfs/squashfs_fs.h. A metadata block holds 8 KiB of records. Inodes
// have the basic form unless they need the extended one: files with further
// names, attributes, holes, over 4 GiB or behind 4 GiB in the image;
// directories with attributes or with more than 8 KiB of names, which then
// have an index by name.
//
// A file of up to half a block goes into a fragment block with others; a
// larger one has blocks of its own to its end. A block of zeros is a hole and
// takes no room; a block that compression does not make smaller is stored as
// it is. Times are whole seconds from 1970 to 2106, others move to the nearest.
// Attributes outside user, trusted and security cannot be held and are refused.
//
// # Duplicates
//
// A file of up to 1 MiB is read whole before any of it is written, and if a
// file with the same bytes came before, it shares that one's blocks. So is a
// file of up to 4 MiB if one of the same length began with the same first MiB,
// see addLarge. Others are passed on as they are read, and are not compared.
//
// # Memory
//
// A Writer with N workers holds 2N+2 blocks, each raw and compressed, a
// fragment block being filled, one file of up to 4 MiB and N compressors: MemoryBound
// computes it, 19 MB for two workers at the default block size and level. On
// top come, until Close, 35 bytes for each content, 24 more if it has blocks of
// its own and 4 for each block. Close drops 20 to 30 of them, which find
// duplicates, and takes 8 for each inode, 16 for each set of attributes, 50 for
// each long value of one, and the listings, compressed. Names, metadata and
// attributes are the tree's and not held again.
//
// # Layout for deltas
//
// An update downloads only those 4 KiB blocks of the new image that stand
// nowhere in the old one. For that to find anything, equal content must come
// out as equal 4 KiB blocks wherever it stands. In the Aligned layout every run
// of blocks and every fragment block therefore starts on a multiple of 4 KiB,
// as do the inodes and the directories: a file that did not change gives the
// same blocks, whatever changed before it. Only files that always change
// together, such as the modules of a kernel, do without some of the padding
// (see padding.go). Small files share a fragment block and change with their
// neighbours, so how they are grouped must not depend on what is far away: a
// full group is cut where folders and the hash of a path say, not where it
// overflowed (see group). With one file changed in a folder of 800 programs,
// 0.5 to 2 % of the image is new; in the Compact layout, everything behind it.
//
// The price on the files of a Debian system is 1.2 % of padding. Blocks of zstd
// that are cut where the kind of data changes give that back (see split.go):
// docs/adr/0008-image-size.md has the measurements.
//
// The bytes depend on what the tree holds, the order of contents and
// Options.Encoder, not on how the tree was made, the machine, the number of
// workers or chance.
package squashfs
