// Package qemutests boots what abupdate makes, and breaks it: updates,
// fallback, corruption, power cuts, recovery and factory reset, in QEMU.
package qemutests
