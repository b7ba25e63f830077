// Package updater is the engine of abupdate: it makes updates out of images,
// and writes images and updates into the inactive slot of a disk. The order of
// its writes is the promise that the running system survives anything
// (docs/crash-safety.md); nothing but the last boot state save of an Apply
// changes what boots.
package updater
