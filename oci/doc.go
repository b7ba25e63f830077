// Package oci turns an image reference into one ordered list of file system
// entries with their contents, and packs updates as OCI artifacts.
//
//	ref -> Resolve -> Image -> ReadIndex -> Index -> Plan -> entries, then contents
//
// # Sources
//
// An image comes from a registry, an OCI image layout (a directory, or a tar of
// one) or a docker-archive. Local sources are read in place: an archive's
// members are found once and then read where they stand; only a compressed
// archive is unpacked into a spool first. A registry's layers are downloaded
// into a spool, because they are read two times: several at once, resumed when
// the connection breaks, compared with their digests. Spooled files lose their
// names as soon as they are whole, so nothing is left behind by a process that
// is killed. An update's blobs are not spooled: they are read once, and Blob
// streams them, resuming with ranges.
//
// Every byte is checked inside Read: a blob's reader gives io.EOF only when
// size and digest were right. A layer is always read to its end, beyond the
// end of its tar, or the digest would not be compared. TLS is required except
// on the loopback interface, or where the options say otherwise.
//
// # Flattening
//
// No file is ever extracted, so no name can lead out of anything. The first
// pass (ReadIndex) keeps each layer's headers and checks digest, size and
// diffID. Plan applies the headers, layer by layer, to a tree in memory. The
// second pass (Plan.Each) streams the contents of those files that are left,
// once, in the order in which they stand in the layers; layers that have
// nothing to give are not read again, and behind the last file that is wanted
// a layer is hashed without being decompressed.
//
// Memory holds metadata, not contents: about 600 bytes for each entry of all
// layers, besides a megabyte of buffers (and a zstd layer's window, of at most
// 128 MiB). Limits bound entries, metadata and bytes.
//
// A layer is applied in two steps.
//
// First its whiteouts, wherever they stand in it. They hide what lower layers
// have, never what their own layer has. All of them are resolved before any is
// carried out, in the lower tree, but with the layer's own directories and
// symlinks in place: where the layer puts a directory in the place of a lower
// symlink, an opaque marker in it must not empty what that symlink led to.
//
// Then its other entries, in order:
//
//   - The parent directory is resolved inside the root, symlinks of this and
//     lower layers included, as securejoin does: ".." stops at the root, and
//     what does not exist is taken as written. Missing directories are made,
//     0755, of root, with time 0. A parent that is no directory is an error.
//   - A directory over a directory changes its metadata and keeps children.
//     Anything else takes the place of what was there, whole; so the last of
//     several entries with one name wins.
//   - A hardlink gives the object that its target names now a further name.
//     Names share an object, so a name keeps it when the others are removed or
//     replaced by upper layers. In the Plan the first name in the order of
//     paths carries the object, and the others are hardlinks to it. A target
//     that comes later in the layer does not exist, so there are no cycles.
//
// Extended attributes are kept in the namespaces user, trusted and security.
// Others (POSIX ACLs, which squashfs cannot hold) and overlayfs's own, which
// the overlay on top would take for its own, are left out and counted in
// Plan.Dropped. Times are cut to seconds.
//
// Refused, before anything is written: names that climb out of the root with
// "..", hardlinks to nothing or to directories, names and paths longer than a
// kernel takes, owners and device numbers out of range, entry types that no
// extractor knows, and whatever does not match a digest, size or limit.
//
// # Differences from umoci
//
// Results equal those of umoci unpack, whose rules these are, but for what
// follows; the rows of the tests say so one by one. umoci bends names with ".."
// into the root. It applies whiteouts in the order of the tar: one that comes
// after entries below its name leaves the lower directory's metadata, one that
// comes before a hardlink to its name makes the link fail, and an opaque marker
// that comes before its directory empties what a lower symlink leads to. It
// takes the whiteouts ".wh.", ".wh.." and ".wh..." for the directories
// themselves. It does not know old GNU sparse files and contiguous files. It
// keeps ACLs and overlayfs attributes, and loses empty values and SELinux
// labels. Directories get the time of day when they are implicit, or when it
// removes from them or makes implicit ones below them.
//
// BUG(oci): global PAX headers are skipped, as every known extractor does, and
// so are extended attributes in LIBARCHIVE.xattr records.
package oci
