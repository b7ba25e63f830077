// Package conformance compares what abupdate makes of real Debian images with
// what other programs make of them. It has only tests, over the built program
// and not over the packages of this module; "make differential" runs them.
//
// TestDifferential builds each image of the table into a slot image, and finds
// no difference between these:
//
//   - what "umoci unpack" extracts: type, mode, owner, size, time, link target,
//     device number, number of links and which names share them, extended
//     attributes, SHA-256;
//   - what the kernel shows of the mounted squashfs, all of that;
//   - what unsquashfs extracts, all of that, and what it lists (-lln) and counts
//     (-stat);
//   - the bytes of a second build, by another number of workers;
//   - the hash tree, by veritysetup.
//
// Of the differences that package oci documents ("Differences from umoci") one
// is met by real images, and granted by name to the image that meets it: see
// exceptions_test.go. The size of a directory is its file system's own affair
// and times have no parts of a second in squashfs; nothing else is left out.
//
// Without CAP_SYS_ADMIN nothing can be mounted and owners and devices cannot be
// made. Then umoci works with --rootless, the owners, devices and privileged
// attributes that it cannot make are taken from the layers' headers, and
// unsquashfs stands for the kernel: its extraction for contents, its listing
// for owners and devices. That way is also gone by root, besides its own.
//
// TestHostile and TestLarge hold the program to bounds of memory, time and
// politeness on images that want to hurt.
package conformance
