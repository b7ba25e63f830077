// Package qemutests boots what abupdate makes, and breaks it: updates,
// fallback, corruption, power cuts, recovery and factory reset, in QEMU.
//
// TestReplay logs what a guest gives to its disk over an update, and cuts the
// power at every place of the log: in memory, and for a sample in QEMU.
//
// A test starts from a copy of one disk that "abupdate image" made, boots it
// directly with what is in the UKI on its ESP (TestUEFI goes through the
// firmware), and talks to the agent in the guest (qemu-tests/guest). A test
// that fails prints the console and the command that boots the same disk by
// hand. Environment:
//
//	ABUPDATE_BIN          folder with abupdate, abinit and guest; unset: they are built
//	ABUPDATE_CACHE        folder for the kernel package and the Debian root (.cache)
//	ABUPDATE_QEMU_ACCEL   QEMU's -accel (tcg,thread=multi)
//	ABUPDATE_QEMU_JOBS    guests at a time (2)
//	ABUPDATE_QEMU_LOGS    folder for the consoles' logs, TEST.log
//	ABUPDATE_SEED         seed of TestPowerCuts, as it printed it
package qemutests
