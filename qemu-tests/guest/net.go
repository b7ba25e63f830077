package main

import (
	"errors"
	"fmt"
	"net"

	"golang.org/x/sys/unix"
)

// networkUp gives lo and the first Ethernet interface their addresses; the
// latter is what QEMU's user network expects. There is no route: the only
// hosts to reach are on the link.
func networkUp() error {
	ifs, err := net.Interfaces()
	if err != nil {
		return fmt.Errorf("listing network interfaces: %w", err)
	}
	var errs []error
	for _, i := range ifs {
		addr, mask := [4]byte{10, 0, 2, 15}, [4]byte{255, 255, 255, 0}
		if i.Flags&net.FlagLoopback != 0 {
			addr, mask = [4]byte{127, 0, 0, 1}, [4]byte{255, 0, 0, 0}
		}
		errs = append(errs, configure(i.Name, addr, mask))
	}
	return errors.Join(errs...)
}

func configure(name string, addr, mask [4]byte) error {
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("setting up %s: %w", name, err)
	}
	defer unix.Close(s)
	ifr, err := unix.NewIfreq(name)
	if err != nil {
		return fmt.Errorf("setting up %s: %w", name, err)
	}
	for _, step := range []struct {
		req  uint
		addr [4]byte
	}{{unix.SIOCSIFADDR, addr}, {unix.SIOCSIFNETMASK, mask}} {
		if err := ifr.SetInet4Addr(step.addr[:]); err != nil {
			return fmt.Errorf("setting up %s: %w", name, err)
		}
		if err := unix.IoctlIfreq(s, step.req, ifr); err != nil {
			return fmt.Errorf("setting up %s: %w", name, err)
		}
	}
	ifr.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	if err := unix.IoctlIfreq(s, unix.SIOCSIFFLAGS, ifr); err != nil {
		return fmt.Errorf("setting up %s: %w", name, err)
	}
	return nil
}
