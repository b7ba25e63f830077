package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

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

// get copies the body of http://ADDRESS/PATH to w; package net/http would
// double this program's size.
func get(url string, w io.Writer) error {
	addr, path, _ := strings.Cut(strings.TrimPrefix(url, "http://"), "/")
	c, err := net.DialTimeout("tcp", addr, 10*time.Second)
	if err != nil {
		return err
	}
	defer c.Close()
	fmt.Fprintf(c, "GET /%s HTTP/1.0\r\nHost: %s\r\n\r\n", path, addr)
	r := bufio.NewReader(c)
	status, err := r.ReadString('\n')
	if err != nil || !strings.Contains(status, " 200 ") {
		return fmt.Errorf("getting %s: %q: %w", url, status, err)
	}
	for line := status; strings.TrimSpace(line) != ""; {
		if line, err = r.ReadString('\n'); err != nil {
			return fmt.Errorf("getting %s: %w", url, err)
		}
	}
	_, err = io.Copy(w, r)
	return err
}
