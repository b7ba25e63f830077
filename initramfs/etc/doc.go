// Package etc keeps what a device changed in its /etc while images come and go:
// for images that ask for it, see manifest.Manifest.Etc.
//
// Changes stand in the upper directory of an overlay on the image's /etc, which
// lies on /var. An overlay alone would hold back every file that was ever
// written to, whatever later images bring. So before it is mounted, at every
// boot, each changed file is compared with what it replaced:
//
//	the same as what it replaced   taken away: the image's own shows
//	the same as in this image      taken away
//	anything else                  kept, with what it replaced on record
//
// What it replaced is known without a hook at run time or at shutdown: the
// prints of the last image's /etc are kept, and a change that is not on record
// yet was made on top of that image. A change whose file this image has
// otherwise than the one that the change was made on is a conflict: the
// device's version stays, and the conflict is listed until somebody accepts it
// or gives the change up.
//
// # Files
//
// All in Dir below /var:
//
//	upper, work   of the overlay
//	state.json    prints of the last image's /etc, and what changes replaced
//	revert        changes to give up at the next boot, a path on each line
//	lock          held while a running system changes one of these
//
// # Crash safety
//
// What is taken away is so before the record is saved, with a sync in between.
// A cut before the save leaves the old record, from which the same follows
// again.
package etc
