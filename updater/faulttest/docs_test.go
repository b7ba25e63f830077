package faulttest_test

import (
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// told returns what docs/faults.md has to tell, by the test's name.
func told() map[string]row {
	all := make(map[string]row)
	add := func(test string, r row) { all[test+"/"+r.name] = r }
	for _, r := range serverRows() {
		add("TestServer", r.row)
	}
	for _, r := range webRows {
		add("TestWeb", r.row)
	}
	for _, r := range imageRows {
		add("TestImage", r.row)
	}
	for _, r := range phaseRows {
		add("TestKilled", r.row)
	}
	for _, r := range diskRows {
		add("TestDisk", r.row)
	}
	for _, r := range mirrorRows {
		add("TestMirror", r.row)
	}
	for _, r := range bundleRows {
		add("TestBundles", r.row)
	}
	for _, r := range trustRows {
		add("TestTrust", r.row)
	}
	for test, stories := range map[string][]story{"TestRegistry": registryStories, "TestDevice": deviceStories, "TestTrust": trustStories, "TestWeb": webStories} {
		for _, s := range stories {
			add(test, s.row)
		}
	}
	return all
}

// docs/faults.md has each fault that is tested, and nothing else; the exit
// code and the message are those that the test asserts.
func TestDocs(t *testing.T) {
	b, err := os.ReadFile("../../docs/faults.md")
	if err != nil {
		t.Fatal(err)
	}
	want := told()
	line := regexp.MustCompile("(?m)^\\| (.+) \\| (.+) \\| (\\d+) \\| (.*) \\| `(Test\\w+/.+)` \\|$")
	for _, m := range line.FindAllStringSubmatch(string(b), -1) {
		code, says, test := m[3], m[4], m[5]
		r, ok := want[test]
		if !ok {
			t.Errorf("%s: there is no such test, or it stands there twice", test)
			continue
		}
		delete(want, test)
		if code != strconv.Itoa(r.code) {
			t.Errorf("%s: exit code %s; the test asserts %d", test, code, r.code)
		}
		for _, s := range r.says {
			if !strings.Contains(says, s) {
				t.Errorf("%s: message %s; the test asserts %q", test, says, s)
			}
		}
	}
	for test, r := range want {
		t.Errorf("%s (exit code %d) is not in docs/faults.md", test, r.code)
	}
}
