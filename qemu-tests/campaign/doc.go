// Package campaign runs the selector's own code on every state that a power
// cut, a flipped bit or a life of updates can leave on a disk.
//
// A recorder under the disk logs every write and sync of an operation: an
// apply, a confirmation, a rollback, a first boot. Each prefix of the log, each
// subset of unsynced writes up to a bound, each torn write is a disk; on each,
// initramfs.Boot runs over a machine in memory until a system is up or
// recovery waits. What is up must be one of the systems that may be, block by
// block, and the next update must go through.
//
// "make campaign" tries all of it and prints what it tried and how it ended;
// "make test" takes a sample. Nothing in here needs QEMU: package qemutests
// boots what the kernel must show.
package campaign
