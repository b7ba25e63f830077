package main

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

func processors() int { return runtime.NumCPU() }

// machine says what the figures were measured on, in lines for the page. What
// names this one machine is left out.
func machine() []string {
	model, flags := cpuInfo(readText("/proc/cpuinfo"))
	sha := "without SHA instructions"
	if slices.Contains(flags, "sha_ni") {
		sha = "with SHA instructions"
	}
	var mem unix.Sysinfo_t
	memory := "unknown"
	if unix.Sysinfo(&mem) == nil {
		memory = fmt.Sprintf("%.1f GB", float64(mem.Totalram)*float64(mem.Unit)/1e9)
	}
	var uts unix.Utsname
	kernel := "unknown"
	if unix.Uname(&uts) == nil {
		kernel = unix.ByteSliceToString(uts.Release[:])
	}
	return []string{
		fmt.Sprintf("%d processors, %s, %s; %s of memory", processors(), model, sha, memory),
		fmt.Sprintf("Linux %s on %s; %s", kernel, prettyName(readText("/etc/os-release")), runtime.Version()),
		"peers: " + strings.Join(versions(), ", "),
	}
}

// readText is "" for a file that is not there.
func readText(file string) string {
	b, _ := os.ReadFile(file)
	return string(b)
}

// cpuInfo finds the first processor's name and flags in /proc/cpuinfo.
func cpuInfo(text string) (model string, flags []string) {
	model = "unknown processor"
	for line := range strings.Lines(text) {
		key, value, _ := strings.Cut(line, ":")
		switch strings.TrimSpace(key) {
		case "model name":
			model = strings.TrimSpace(value)
		case "flags":
			return model, strings.Fields(value)
		}
	}
	return model, nil
}

// peerPackages are Debian's packages of the peers.
var peerPackages = []string{"cryptsetup-bin", "skopeo", "squashfs-tools", "squashfs-tools-ng", "umoci"}

func versions() []string {
	out, err := exec.Command("dpkg-query", append([]string{"-W", "-f", "${Package} ${Version}\n"}, peerPackages...)...).Output()
	if err != nil {
		return []string{"unknown versions"}
	}
	return strings.Split(strings.TrimSpace(string(out)), "\n")
}
