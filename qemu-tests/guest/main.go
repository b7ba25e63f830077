// Command guest is what runs inside the guests of the QEMU tests: the init of
// the tiny test image, and the agent that the host drives over virtio-serial.
// As PID 1 it is the init; "guest agent" serves the host under another init
// (systemd); other words are small tools, because the tiny image has no shell.
package main

import (
	"fmt"
	"os"
	"path/filepath"
)

func main() {
	if os.Getpid() == 1 {
		runInit()
	}
	err := error(nil)
	if filepath.Base(os.Args[0]) == "mkfs.ext4" {
		err = freezeInit()
	} else {
		err = run(os.Args[1:])
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "guest: %v\n", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) == 0 {
		return fmt.Errorf("no command; want agent or one of %s", toolNames())
	}
	if args[0] == "agent" {
		a, err := openAgent()
		if err != nil {
			return err
		}
		if err := a.announce(""); err != nil {
			return err
		}
		return a.serve()
	}
	tool, ok := tools[args[0]]
	if !ok || len(args)-1 < tool.min {
		return fmt.Errorf("%q: want one of %s", args, toolNames())
	}
	return tool.run(args[1:])
}
