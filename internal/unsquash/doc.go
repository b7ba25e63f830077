// Package unsquash reads squashfs 4.0 images: the names and metadata of all
// that is in them, and the contents of files. It knows the compressions that
// package squashfs writes, gzip and zstd.
//
// It is for looking at images, not for running from one: that is the kernel's
// part. go-diskfs, which reads the kernel of an image at installation,
// has no setuid bits, device numbers and names that are not UTF-8, and misreads
// longer lists of attributes; a comparison of two images needs all of them.
//
// A Finder is for those who want the contents of files whose paths they know:
// an update takes from the running image what is the same in the next one.
//
// Everything that an image says is checked before it is used. Memory is bounded
// by the number of names, by 1 GiB of metadata and by 1 GiB of records that are
// read from it, while Open runs; contents go through two blocks.
package unsquash
