package debianimage

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// hostSuite is the codename of the Debian that runs here.
func hostSuite() (string, error) {
	b, err := os.ReadFile("/etc/os-release")
	if err != nil {
		return "", fmt.Errorf("finding this machine's Debian release: %w", err)
	}
	for line := range strings.Lines(string(b)) {
		if v, ok := strings.CutPrefix(strings.TrimSpace(line), "VERSION_CODENAME="); ok {
			return strings.Trim(v, `"`), nil
		}
	}
	return "", errors.New("finding this machine's Debian release: no VERSION_CODENAME in /etc/os-release")
}

// pockets are the parts of a suite's archive: the release, and unless released
// what came after it.
func pockets(suite string, released bool) []string {
	if released {
		return []string{suite}
	}
	return []string{suite, suite + "-updates", suite + "-security", suite + "/updates"}
}

// aptSources returns lines for sources.list: the mirrors that this machine
// itself gets releases from. apt is asked, so both formats of its source lists
// count, and only what Debian has signed as its own.
func aptSources(ctx context.Context, releases []string) (string, error) {
	cmd := exec.CommandContext(ctx, "apt-get", "indextargets", "--format", "$(ARCHITECTURE) $(REPO_URI) $(RELEASE) $(COMPONENT)",
		"Created-By: Packages", "Origin: Debian")
	out, err := output(cmd)
	if err != nil {
		return "", fmt.Errorf("listing apt's sources: %w", err)
	}
	keyring, err := debianKeyring()
	if err != nil {
		return "", err
	}
	lines, err := sourceLines(out, releases, keyring)
	if err != nil {
		return "", err
	}
	if len(lines) == 0 {
		return "", fmt.Errorf("listing apt's sources: none for Debian %s (is there one, and has apt-get update been run?)", releases[0])
	}
	return strings.Join(lines, "\n") + "\n", nil
}

// sourceLines turns what aptSources asked for into one line per mirror, suite
// and component, without duplicates.
func sourceLines(targets string, releases []string, keyring string) ([]string, error) {
	var lines []string
	for target := range strings.Lines(targets) {
		f := strings.Fields(target)
		if len(f) != 4 {
			return nil, fmt.Errorf("listing apt's sources: cannot read %q", target)
		}
		uri, release, component := f[1], f[2], f[3]
		if !slices.Contains(releases, release) || strings.HasPrefix(uri, "cdrom:") {
			continue
		}
		uri, err := mirror(uri)
		if err != nil {
			return nil, err
		}
		line := fmt.Sprintf("deb [signed-by=%s] %s %s %s", keyring, uri, release, component)
		if !slices.Contains(lines, line) {
			lines = append(lines, line)
		}
	}
	return lines, nil
}

// mirror resolves a list of mirrors, as Debian's cloud images have one, to its
// first entry.
func mirror(uri string) (string, error) {
	file, ok := strings.CutPrefix(uri, "mirror+file:")
	if !ok {
		return uri, nil
	}
	file = "/" + strings.Trim(file, "/")
	f, err := os.Open(file)
	if err != nil {
		return "", fmt.Errorf("reading list of mirrors: %w", err)
	}
	defer f.Close()
	sc := bufio.NewScanner(f)
	for sc.Scan() {
		if first := strings.Fields(sc.Text()); len(first) > 0 && !strings.HasPrefix(first[0], "#") {
			return first[0], nil
		}
	}
	if err := sc.Err(); err != nil {
		return "", fmt.Errorf("reading list of mirrors: %w", err)
	}
	return "", fmt.Errorf("reading list of mirrors: %s names none", file)
}

func debianKeyring() (string, error) {
	for _, ext := range []string{"gpg", "pgp"} {
		file := "/usr/share/keyrings/debian-archive-keyring." + ext
		if _, err := os.Stat(file); err == nil {
			return file, nil
		}
	}
	return "", errors.New("finding Debian's keys: none in /usr/share/keyrings (Debian package debian-archive-keyring)")
}

// aptOptions returns the lines of this machine's apt configuration that say
// how to reach a mirror: proxies, certificates, retries, the clock.
func aptOptions(ctx context.Context) (string, error) {
	out, err := output(exec.CommandContext(ctx, "apt-config", "dump", "--no-empty"))
	if err != nil {
		return "", fmt.Errorf("reading apt's configuration: %w", err)
	}
	opts := transportOptions(out)
	// Passwords for mirrors stay where they are; apt only learns the place.
	if files, _ := filepath.Glob("/etc/apt/auth.conf.d/*.conf"); len(files) > 0 {
		opts += "Dir::Etc::netrcparts \"/etc/apt/auth.conf.d/\";\n"
	}
	if _, err := os.Stat("/etc/apt/auth.conf"); err == nil {
		opts += "Dir::Etc::netrc \"/etc/apt/auth.conf\";\n"
	}
	return opts, nil
}

func transportOptions(dump string) string {
	keep := []string{"Acquire::http", "Acquire::https", "Acquire::Retries", "Acquire::ForceIPv", "Acquire::Check-",
		"Acquire::Max-FutureTime", "Acquire::Max-ValidTime", "Acquire::By-Hash", "Acquire::Queue-Mode"}
	var b strings.Builder
	for line := range strings.Lines(dump) {
		if slices.ContainsFunc(keep, func(p string) bool { return strings.HasPrefix(line, p) }) {
			b.WriteString(line)
		}
	}
	return b.String()
}

// output runs cmd and returns what it printed; its error has what the program
// said last.
func output(cmd *exec.Cmd) (string, error) {
	var errOut strings.Builder
	cmd.Stderr = &errOut
	b, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w: %s", cmd.Args[0], err, lastLine(errOut.String()))
	}
	return string(b), nil
}

func lastLine(s string) string {
	s = strings.TrimSpace(s)
	return s[strings.LastIndexByte(s, '\n')+1:]
}
