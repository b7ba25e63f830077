package main

import (
	"compress/gzip"
	"fmt"
	"io"
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
		"squashfs in this kernel: " + squashfsConfig(kernelConfig(kernel)),
		"peers: " + strings.Join(versions(), ", "),
	}
}

// load is the first figure of /proc/loadavg: how many processes wanted to run
// in the minute before.
func load(loadavg string) string {
	minute, _, _ := strings.Cut(loadavg, " ")
	return minute
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

// kernelConfig is "" where the kernel keeps it to itself.
func kernelConfig(release string) string {
	if text := readText("/boot/config-" + release); text != "" {
		return text
	}
	f, err := os.Open("/proc/config.gz")
	if err != nil {
		return ""
	}
	defer f.Close()
	r, err := gzip.NewReader(f)
	if err != nil {
		return ""
	}
	text, _ := io.ReadAll(r)
	return string(text)
}

// squashfsConfig picks what decides how fast the kernel reads: whether data
// goes straight into the page cache, how many decompress at a time, how many
// fragment blocks are kept.
func squashfsConfig(config string) string {
	var found []string
	for line := range strings.Lines(config) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		name, ok := strings.CutPrefix(name, "CONFIG_SQUASHFS_")
		switch {
		case !ok || strings.HasPrefix(name, "COMPILE_"):
		case strings.HasPrefix(name, "FILE_") || strings.HasPrefix(name, "DECOMP_"):
			found = append(found, name)
		case name == "FRAGMENT_CACHE_SIZE":
			found = append(found, name+"="+value)
		}
	}
	if found == nil {
		return "unknown"
	}
	return strings.Join(found, " ")
}
