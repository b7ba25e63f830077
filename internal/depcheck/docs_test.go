package depcheck_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// Pages say which tests show what they promise. A test that is renamed or
// removed must not leave a promise that nothing shows.
func TestDocsNameTests(t *testing.T) {
	root := filepath.Join("..", "..")
	pages, err := filepath.Glob(filepath.Join(root, "docs", "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, page := range pages {
		n := checkTestNames(t, root, page)
		if filepath.Base(page) == "crash-safety.md" && n < 20 {
			t.Errorf("%s names %d tests; want one for each promise", page, n)
		}
	}
}

// The table of packages in docs/architecture.md has all of them, and says
// rightly which the initramfs may link.
func TestArchitectureHasPackages(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "architecture.md"))
	if err != nil {
		t.Fatal(err)
	}
	inInit := map[string]bool{}
	for line := range strings.Lines(string(text)) {
		cells := strings.Split(strings.TrimSpace(line), "|")
		if len(cells) != 5 || !strings.HasPrefix(cells[1], " `") {
			continue
		}
		for _, m := range regexp.MustCompile("`([a-z/-]+)`").FindAllStringSubmatch(cells[1]+cells[2], -1) {
			inInit[m[1]] = inInit[m[1]] || strings.TrimSpace(cells[3]) == "yes"
		}
	}
	for pkg := range load(t) {
		name, ours := own(pkg)
		if !ours {
			continue
		}
		yes, ok := inInit[name]
		if !ok {
			t.Errorf("docs/architecture.md: the table of packages lacks %s", name)
		} else if want := slices.Contains(initSafe, name); yes != want && !forTests(name) {
			t.Errorf("docs/architecture.md: %s in PID 1: %v; initSafe says %v", name, yes, want)
		}
	}
}

// checkTestNames looks for the tests that a page names, and returns how many
// these are.
func checkTestNames(t *testing.T, root, page string) int {
	t.Helper()
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	names := regexp.MustCompile("`([a-z/-]+)\\.(Test\\w+)`").FindAllStringSubmatch(string(text), -1)
	for _, m := range names {
		dir := strings.ReplaceAll(m[1], "qemutests", "qemu-tests")
		files, err := filepath.Glob(filepath.Join(root, dir, "*_test.go"))
		if err != nil {
			t.Fatal(err)
		}
		found := false
		for _, f := range files {
			source, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			found = found || strings.Contains(string(source), "\nfunc "+m[2]+"(")
		}
		if !found {
			t.Errorf("%s names %s.%s; there is no such test", page, m[1], m[2])
		}
	}
	return len(names)
}
