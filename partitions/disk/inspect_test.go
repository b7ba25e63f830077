package disk_test

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/abupdate/abupdate/bootctl"
	"github.com/abupdate/abupdate/internal/manifest"
	"github.com/abupdate/abupdate/partitions"
	"github.com/abupdate/abupdate/partitions/disk"
	"github.com/abupdate/abupdate/verity"
)

// The script in docs/ondisk.md finds the slot, its manifest and its tree with
// nothing but standard tools.
func TestInspectByHand(t *testing.T) {
	doc, err := os.ReadFile("../../docs/ondisk.md")
	if err != nil {
		t.Fatal(err)
	}
	script := regexp.MustCompile("(?s)```sh inspect\n(.*?)```").FindSubmatch(doc)
	if script == nil {
		t.Fatal("docs/ondisk.md has no script for inspection")
	}
	path, d := create(t, 0, small, disk.Options{})
	raw := writeSlot(t, d, bootctl.SlotB, randomBytes(5, 300*4096))

	cmd := exec.Command("sh", "-c", string(script[1]))
	cmd.Dir = t.TempDir()
	cmd.Env = append(os.Environ(), "DISK="+path, "LABEL=root-b", "LC_ALL=C", "PATH="+os.Getenv("PATH")+":/usr/sbin:/sbin")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("the script: %v (it needs the Debian packages cryptsetup-bin and util-linux)\n%s", err, out)
	}
	for _, want := range []string{"ABUPSLOT\n", string(raw), "Data blocks:     \t300\n", "verified\n"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("the script does not print %q:\n%s", want, out)
		}
	}
}

// writeSlot fills a slot with an image and returns its manifest.
func writeSlot(t *testing.T, d *partitions.Disk, s bootctl.Slot, image []byte) []byte {
	t.Helper()
	size := int64(len(image))
	tree, err := verity.Build(bytes.NewReader(image), size, verity.DefaultParams())
	if err != nil {
		t.Fatal(err)
	}
	m := manifest.Manifest{
		Format: manifest.FormatVersion, Version: "1.0", Architecture: "amd64",
		RootHash: fmt.Sprintf("%x", tree.RootHash), Salt: fmt.Sprintf("%x", tree.Salt),
		DataBlocks: size / 4096, ImageBytes: size, HashOffset: size, TreeBytes: tree.Bytes(),
	}
	raw, err := m.Encode()
	if err != nil {
		t.Fatal(err)
	}
	sec, err := d.Slot(s)
	if err != nil {
		t.Fatal(err)
	}
	w := partitions.NewSlotWriter(sec)
	for _, step := range []func() error{
		w.Begin,
		func() error { _, err := io.Copy(w, bytes.NewReader(image[4096:])); return err },
		func() error { return w.WriteFirst(image[:4096]) },
		func() error { return w.WriteTree(tree) },
		func() error { return w.ReadBack(t.Context(), tree.RootHash, nil) },
		func() error { return w.Commit(raw, nil) },
	} {
		if err := step(); err != nil {
			t.Fatal(err)
		}
	}
	return raw
}

// What the document says of constants is what the code has.
func TestDocumentedConstants(t *testing.T) {
	doc, err := os.ReadFile(filepath.FromSlash("../../docs/ondisk.md"))
	if err != nil {
		t.Fatal(err)
	}
	foot := partitions.Footer{}.Encode()
	for _, want := range []string{
		partitions.StateType, partitions.ESPType, partitions.RootAMD64Type, partitions.RootARM64Type, partitions.VarType, partitions.LinuxGenericType,
		"`" + string(foot[:8]) + "`", fmt.Sprintf("at byte %d of the partition", bootctl.PartitionSize/2),
		fmt.Sprintf("an ESP of\n%d MiB; %d MiB with", disk.MinESP/disk.MiB, disk.MinESP4K/disk.MiB),
	} {
		if !strings.Contains(string(doc), want) {
			t.Errorf("docs/ondisk.md does not say %q", want)
		}
	}
}
