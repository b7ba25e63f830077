// Package initramfs is the boot sequence that PID 1 of the initramfs runs:
// from an empty machine to the image's own init in a slot that dm-verity
// guards, or to recovery.
//
// Boot is written over System, so that the whole sequence runs in unit tests;
// the machine itself is in system_linux.go and its neighbours. Every wait has
// a bound and every failure ends in a reboot that was counted before the slot
// was touched, with its reason in the boot state.
package initramfs
