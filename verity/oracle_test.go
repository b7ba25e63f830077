package verity_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/abupdate/abupdate/verity"
)

// veritysetup runs cryptsetup's tool, the oracle of these tests.
func veritysetup(t *testing.T, args ...string) string {
	t.Helper()
	path, err := exec.LookPath("veritysetup")
	if err != nil {
		path = "/usr/sbin/veritysetup" // not in an ordinary user's PATH
		if _, err := os.Stat(path); err != nil {
			t.Fatal("veritysetup is missing: install the Debian package cryptsetup-bin")
		}
	}
	out, err := exec.Command(path, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("veritysetup %v: %v\n%s", args, err, out)
	}
	return string(out)
}

// image makes a file of n blocks. Beyond 200 blocks most of it is a hole.
func image(t *testing.T, n int64) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "data")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, at := range []int64{0, n - 100} {
		blocks := randomBlocks(int(min(n, 100)), uint64(n))
		if _, err := f.WriteAt(blocks, max(at, 0)*verity.BlockSize); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Truncate(n * verity.BlockSize); err != nil {
		t.Fatal(err)
	}
	return path
}

func randomBlocks(n int, seed uint64) []byte {
	b := make([]byte, n*verity.BlockSize)
	rnd := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), byte(seed >> 16)})
	rnd.Read(b)
	return b
}

func build(t *testing.T, path string, p verity.Params) *verity.Tree {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	tree, err := verity.Build(f, st.Size(), p)
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

func encode(t *testing.T, tree *verity.Tree) []byte {
	t.Helper()
	var buf bytes.Buffer
	if n, err := tree.WriteTo(&buf); err != nil || n != int64(buf.Len()) || n != tree.Bytes() {
		t.Fatalf("WriteTo() = %d, %v for %d bytes; Bytes() = %d", n, err, buf.Len(), tree.Bytes())
	}
	return buf.Bytes()
}

func uuidString(u [16]byte) string {
	return fmt.Sprintf("%x-%x-%x-%x-%x", u[:4], u[4:6], u[6:8], u[8:10], u[10:])
}

var rootHashLine = regexp.MustCompile(`Root hash:\s+([0-9a-f]{64})`)

// format returns what veritysetup writes, and its root hash.
func format(t *testing.T, data string, p verity.Params) (tree []byte, rootHash string) {
	t.Helper()
	salt := "-"
	if len(p.Salt) > 0 {
		salt = hex.EncodeToString(p.Salt)
	}
	hashes := filepath.Join(t.TempDir(), "hashes")
	out := veritysetup(t, "format", data, hashes, "--salt="+salt, "--uuid="+uuidString(p.UUID))
	m := rootHashLine.FindStringSubmatch(out)
	if m == nil {
		t.Fatalf("veritysetup prints no root hash:\n%s", out)
	}
	tree, err := os.ReadFile(hashes)
	if err != nil {
		t.Fatal(err)
	}
	return tree, m[1]
}

func TestSameBytesAsVeritysetup(t *testing.T) {
	long := bytes.Repeat([]byte{0xa5}, verity.MaxSaltSize)
	for _, tt := range []struct {
		name   string
		blocks int64
		params verity.Params
	}{
		{"one block has no hash blocks", 1, verity.DefaultParams()},
		{"two blocks", 2, verity.DefaultParams()},
		{"one less than a hash block holds", 127, verity.DefaultParams()},
		{"as many as a hash block holds", 128, verity.DefaultParams()},
		{"one more: a second level", 129, verity.DefaultParams()},
		{"one more than two hash blocks hold", 257, verity.DefaultParams()},
		{"a few thousand", 5000, verity.DefaultParams()},
		{"one less than two levels hold", 128*128 - 1, verity.DefaultParams()},
		{"as many as two levels hold", 128 * 128, verity.DefaultParams()},
		{"one more: a third level", 128*128 + 1, verity.DefaultParams()},
		{"no salt", 130, verity.Params{UUID: verity.DefaultUUID}},
		{"the longest salt", 130, verity.Params{Salt: long, UUID: [16]byte{1}}},
		{"an odd salt", 1, verity.Params{Salt: []byte{1, 2, 3}, UUID: [16]byte{2}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			data := image(t, tt.blocks)
			tree := build(t, data, tt.params)
			want, wantRoot := format(t, data, tt.params)
			if got := hex.EncodeToString(tree.RootHash); got != wantRoot {
				t.Errorf("root hash is %s; veritysetup says %s", got, wantRoot)
			}
			got := encode(t, tree)
			// With a single data block veritysetup ends its file behind the
			// superblock; ours is always whole blocks.
			if len(want) < len(got) && len(want) == 512 {
				want = append(want, make([]byte, len(got)-len(want))...)
			}
			if !bytes.Equal(got, want) {
				t.Errorf("tree of %d bytes differs from veritysetup's of %d at byte %d", len(got), len(want), firstDifference(got, want))
			}
		})
	}
}

func firstDifference(a, b []byte) int {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return i
		}
	}
	return min(len(a), len(b))
}

// Data and tree in one file, as in a slot.
func TestVeritysetupVerifies(t *testing.T) {
	for _, n := range []int64{1, 2, 128, 129, 1000} {
		path := image(t, n)
		tree := build(t, path, verity.DefaultParams())
		f, err := os.OpenFile(path, os.O_RDWR|os.O_APPEND, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if _, err := tree.WriteTo(f); err != nil {
			t.Fatal(err)
		}
		root := hex.EncodeToString(tree.RootHash)
		veritysetup(t, "verify", path, path, root, fmt.Sprintf("--hash-offset=%d", n*verity.BlockSize))
	}
}

// sparse reads as size zeros with a text at off.
type sparse struct {
	size, off, at int64
	text          string
}

func (s *sparse) Read(p []byte) (int, error) {
	if s.at == s.size {
		return 0, io.EOF
	}
	n := int(min(int64(len(p)), s.size-s.at))
	clear(p[:n])
	for i := range s.text {
		if d := s.off + int64(i) - s.at; d >= 0 && d < int64(n) {
			p[d] = s.text[i]
		}
	}
	s.at += int64(n)
	return n, nil
}

// Past 4 GiB, where 32 bits of bytes end. What is wanted was made with
// veritysetup 2.6.1, which would take as long again:
//
//	truncate -s 4294979584 data; printf 'past 4 GiB' | dd of=data bs=1 seek=4294972296 conv=notrunc
//	veritysetup format data hashes --salt=... --uuid=... (DefaultSalt, DefaultUUID); sha256sum hashes
func TestPastFourGiB(t *testing.T) {
	const (
		size     = 4<<30 + 3*verity.BlockSize
		wantRoot = "b5dee22bd1cb60128a75d9df901b9811bd29a87d3d0d4a3b2cada0896704854a"
		wantTree = "fda2d135029483fad3b728c2f3cbe7589882d27a0edc660c8595bf9c23a73e0a"
	)
	tree, err := verity.Build(&sparse{size: size, off: 4<<30 + 5000, text: "past 4 GiB"}, size, verity.DefaultParams())
	if err != nil {
		t.Fatal(err)
	}
	if got := hex.EncodeToString(tree.RootHash); got != wantRoot {
		t.Errorf("root hash is %s; veritysetup says %s", got, wantRoot)
	}
	if got := fmt.Sprintf("%x", sha256.Sum256(encode(t, tree))); got != wantTree {
		t.Errorf("tree has SHA-256 %s; veritysetup's has %s", got, wantTree)
	}
}
