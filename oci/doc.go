// Package oci turns an image reference into a tree of file system entries and
// their contents, and packs updates as OCI artifacts.
//
//	ref -> Resolve -> Image -> Read -> contents, while it runs
//	                                -> Plan: the flattened tree
//
// # Sources
//
// An image comes from a registry, an OCI image layout (a directory, a tar of
// one, or a directory on a web server) or a docker-archive. Local sources are
// read in place and need no room on disk: an archive's members are found once
// and then read where they stand; only a compressed archive is unpacked into a
// spool first. Remote blobs stream, and go on with ranges when the connection
// breaks. A layer that must be read again is downloaded into a spool first:
// resumed, compared with its digest, one layer at a time, and only where there
// is room. Spooled files lose their names as soon as they are whole.
//
// How patient requests are, what they take of the line, mirrors and
// certificates is for internal/wire. Credentials go to the host that they are
// for and nowhere else, also when it redirects.
//
// The blobs of an update are read in pieces as well (Ranges), which nobody can
// compare with a digest: who reads them checks blocks. Other manifests of a
// repository or layout are found by the image that they belong to (Referrers,
// Sibling): by the registry's API, by the list that pushers keep under a tag
// where it has none, by the manifests in index.json of a layout.
//
// Every byte is checked inside Read: a blob's reader gives io.EOF only when
// size and digest were right. A layer is always read to its end, beyond the
// end of its tar, or the digest would not be compared. TLS is required except
// on the loopback interface, or where the options say otherwise.
//
// # One pass
//
// No file is ever extracted, so no name can lead out of anything. Read reads
// each layer once, the highest first. It keeps the headers of entries, and
// hands over the content of each regular file unless an upper layer hides the
// file: names it, puts something else above it, or whites it out. What is
// hidden is known by hashes of names, and no more than a guess, which two
// things can prove wrong when the headers are flattened in the end:
//
//   - A content is needed after all: its name is hidden, but a hardlink that is
//     not gives it another one, or a symlink leads elsewhere than its name says.
//     Its layer is read a second time (Plan.SecondReads).
//   - A content is needed no more: its name came again in its own layer, or an
//     upper layer reached it through a symlink. What took it has bytes for
//     nothing (Plan.Unused).
//
// The order of contents depends on the image alone: layers from the highest
// down, each in the order of its tar, then what second reads give, likewise.
// Digests are compared at a layer's end; whoever takes contents must drop them
// when Read fails.
//
// # Layers that are at hand
//
// ReadWith can make a list of an image's layers: of each its headers, and by
// which names the contents of its files are in the flattened tree. Who keeps
// the list and the files, in whatever form, has no need to fetch such a layer
// again: it is replayed (Local). What contents get, and the tree, are the same
// as without.
//
// # Memory
//
// Memory holds metadata, not contents. While layers are read it holds their
// headers, front-coded and packed: some 20 bytes for each entry of a Debian
// system. They are given back, page by page, while the tree grows, which takes
// about 100 bytes for each name that is left; extended attributes are kept once
// for each different set. With several layers there are 20 to 40 bytes for each
// name of the upper ones. At the most, 200,000 entries need 25 MB and a million
// 110 MB. Besides there are 640 KiB of buffers, and what a decompressor needs:
// 50 KiB for gzip; for zstd the window of the frame, 8 MiB at most with the
// usual levels of compression and 128 MiB at all. Limits bound entries,
// metadata and bytes.
//
// # Flattening
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
//     replaced by upper layers. In Plan.Entries the first name in the order of
//     the tree carries the object, and the others are hardlinks to it. A target
//     that comes later in the layer does not exist, so there are no cycles.
//
// Extended attributes are kept in the namespaces user, trusted and security.
// Others (POSIX ACLs, which squashfs cannot hold) and overlayfs's own, which
// the overlay on top would take for its own, are left out and counted in
// Plan.Dropped. Times are cut to seconds.
//
// Refused are names that climb out of the root with
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
