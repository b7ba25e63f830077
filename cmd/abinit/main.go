// Abinit is the init of the initramfs: PID 1 from the kernel's start to the
// image's own init. Everything is in package initramfs.
package main

import (
	"fmt"
	"os"

	"github.com/abupdate/abupdate/initramfs"
)

func main() {
	if os.Args[0] == initramfs.BridgeName && len(os.Args) == 3 {
		initramfs.BridgeMain(os.Args[1:])
		return
	}
	if os.Getpid() != 1 {
		fmt.Fprintln(os.Stderr, "abinit: runs as process 1 of an initramfs only")
		os.Exit(2)
	}
	initramfs.Main()
}
