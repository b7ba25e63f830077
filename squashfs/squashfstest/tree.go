package squashfstest

import (
	"fmt"
	"math/rand/v2"
	"strings"

	"github.com/abupdate/abupdate/internal/fstree"
)

// TreeOptions says what Tree puts in besides the usual; zero leaves it out.
type TreeOptions struct {
	BigDir  int   // entries of a directory
	BigFile int64 // length of a file that is mostly holes
}

// Tree returns a tree with everything in it that a squashfs can get wrong. The
// entries come in no helpful order: some directories after what is in them,
// some hardlinks before what they name. Equal seeds give equal trees.
func Tree(seed uint64, opt TreeOptions) []File {
	g := &generator{rng: rand.New(rand.NewPCG(seed, 0x5eed))}
	g.dir("", 0o755)
	g.last().Xattrs = xattrs("user.root", "of the tree")
	g.files()
	g.duplicates()
	g.names()
	g.owners()
	g.times()
	g.specials()
	g.hardlinks()
	g.attributes()
	g.directories()
	if opt.BigDir > 0 {
		g.bigDir(opt.BigDir)
	}
	if opt.BigFile > 0 {
		g.bigFile(opt.BigFile)
	}
	return g.out
}

type generator struct {
	rng *rand.Rand
	out []File
}

func (g *generator) last() *File { return &g.out[len(g.out)-1] }

func (g *generator) add(e fstree.Entry) *File {
	e.ModTime = 1_700_000_000 + int64(len(g.out))
	g.out = append(g.out, File{Entry: e})
	return g.last()
}

func (g *generator) dir(path string, mode uint16) *File {
	return g.add(fstree.Entry{Path: path, Type: fstree.Directory, Mode: mode})
}

func (g *generator) file(path string, c Content) *File {
	f := g.add(fstree.Entry{Path: path, Type: fstree.Regular, Mode: 0o644, Size: c.Size()})
	f.Content = c
	return f
}

func (g *generator) link(path, target string) {
	g.add(fstree.Entry{Path: path, Type: fstree.Hardlink, Linkname: target})
}

func xattrs(pairs ...string) []fstree.Xattr {
	var x []fstree.Xattr
	for i := 0; i < len(pairs); i += 2 {
		x = append(x, fstree.Xattr{Name: pairs[i], Value: []byte(pairs[i+1])})
	}
	fstree.SortXattrs(x)
	return x
}

// files has lengths around every block size and around the limits of
// fragments, with content that compresses, does not, or is a hole.
func (g *generator) files() {
	g.file("files/empty", Zero(0))
	for _, shift := range []int{11, 12, 13, 15, 16, 17, 18, 20} {
		for _, d := range []int64{-1, 0, 1} {
			size := int64(1)<<shift + d
			g.file(fmt.Sprintf("files/text-%d", size), Text(g.rng.Uint64(), size))
			if shift == 12 || shift == 18 {
				g.file(fmt.Sprintf("files/noise-%d", size), Noise(g.rng.Uint64(), size))
				g.file(fmt.Sprintf("files/zero-%d", size), Zero(size))
			}
		}
	}
	for i := range 60 {
		g.file(fmt.Sprintf("files/small-%02d", i), Text(g.rng.Uint64(), 1+g.rng.Int64N(9000)))
	}
	g.file("files/large-text", Text(g.rng.Uint64(), 2<<20+7))
	g.file("files/large-noise", Noise(g.rng.Uint64(), 1<<20+4097))
	g.file("files/large-zero", Zero(2<<20+5))
	mixed := Text(g.rng.Uint64(), 3<<20+77)
	g.file("files/hole-first", WithHole(mixed, 0, 2<<20))
	g.file("files/hole-middle", WithHole(mixed, 1<<20, 2<<20))
	g.file("files/hole-last", WithHole(mixed, 1<<20, 4<<20))
	g.file("files/holes-short", WithHole(Noise(g.rng.Uint64(), 300<<10), 16<<10, 272<<10))
}

func (g *generator) duplicates() {
	for _, size := range []int64{1, 700, 90 << 10, 200 << 10, 600 << 10, 1<<20 + 1} {
		c := Noise(uint64(size), size)
		for _, dir := range []string{"a", "b", "c"} {
			g.file(fmt.Sprintf("duplicates/%s/%d", dir, size), c)
		}
		g.file(fmt.Sprintf("duplicates/other/%d", size), Noise(uint64(size)+1, size))
	}
}

func (g *generator) names() {
	for _, name := range []string{
		"plain", " space first", "space last ", "-dash", "--", "...", ".hidden", "new\nline", "tab\t", `back\slash`, `quote"s'`,
		"glob*[a-z]?", "umlaut-ä", "\xe4-latin1", "\xff\xfe\x80", "\x01\x7f", "$HOME", "日本語", strings.Repeat("n", 255), strings.Repeat("\xc3", 255),
		"a", "A", "a.b", "a!b", "a-b", "ab",
	} {
		g.file("names/"+name, Text(1, 20))
		g.add(fstree.Entry{Path: "names/links/" + name[:min(len(name), 200)], Type: fstree.Symlink, Mode: 0o777, Linkname: name})
	}
	g.dir("names", 0o700)
}

func (g *generator) owners() {
	for i, id := range []uint32{0, 1, 1000, 65534, 65535, 65536, 1<<31 - 1, 1 << 31, 1<<32 - 2} {
		f := g.file(fmt.Sprintf("owners/%d", id), Text(uint64(id), 10))
		f.UID, f.GID = id, 1<<32-2-id
		f.Mode = []uint16{0, 0o7777, 0o4755, 0o2755, 0o1644, 0o6711, 0o400, 0o222, 0o111}[i]
	}
	for i := range uint32(1100) { // more than one metadata block of ids
		f := g.file(fmt.Sprintf("owners/many/%d", i), Zero(0))
		f.UID, f.GID = 200_000+i*7, 300_000+i*7
	}
	g.dir("owners/sticky", 0o1777)
	g.dir("owners/setgid", 0o2775).GID = 50
	g.dir("owners/none", 0)
}

func (g *generator) times() {
	for _, t := range []int64{-1 << 40, -1, 0, 1, 1<<31 - 1, 1 << 31, 1<<32 - 1, 1 << 32, 1 << 50} {
		g.file(fmt.Sprintf("times/%d", t), Zero(0)).ModTime = t
	}
	g.dir("times", 0o755).ModTime = 1<<32 - 1
}

func (g *generator) specials() {
	for _, d := range []struct{ major, minor uint32 }{{1, 3}, {8, 0}, {0, 0}, {259, 65536}, {4095, 1<<20 - 1}, {10, 255}, {10, 256}} {
		g.add(fstree.Entry{Path: fmt.Sprintf("dev/c%d-%d", d.major, d.minor), Type: fstree.CharDevice, Mode: 0o666, Major: d.major, Minor: d.minor})
		g.add(fstree.Entry{Path: fmt.Sprintf("dev/b%d-%d", d.major, d.minor), Type: fstree.BlockDevice, Mode: 0o660, Major: d.major, Minor: d.minor})
	}
	g.add(fstree.Entry{Path: "dev/fifo", Type: fstree.FIFO, Mode: 0o600})
	g.add(fstree.Entry{Path: "dev/socket", Type: fstree.Socket, Mode: 0o755})
	label := xattrs("security.selinux", "system_u:object_r:device_t:s0\x00")
	g.add(fstree.Entry{Path: "dev/labelled-c", Type: fstree.CharDevice, Major: 5, Minor: 1}).Xattrs = label
	g.add(fstree.Entry{Path: "dev/labelled-b", Type: fstree.BlockDevice, Major: 7, Minor: 7}).Xattrs = label
	g.add(fstree.Entry{Path: "dev/labelled-fifo", Type: fstree.FIFO}).Xattrs = label
	g.add(fstree.Entry{Path: "dev/labelled-socket", Type: fstree.Socket}).Xattrs = label
	for i, target := range []string{"x", "/absolute/path", "../..", "dangling", strings.Repeat("t/", 2047) + "t", "\xff\x80", "with space\nand line"} {
		g.add(fstree.Entry{Path: fmt.Sprintf("symlinks/%d", i), Type: fstree.Symlink, Mode: 0o777, Linkname: target})
		g.add(fstree.Entry{Path: fmt.Sprintf("symlinks/labelled-%d", i), Type: fstree.Symlink, Mode: 0o777, Linkname: target}).Xattrs = label
	}
}

func (g *generator) hardlinks() {
	g.link("hardlinks/before", "hardlinks/z-file")
	g.link("hardlinks/chain", "hardlinks/before")
	g.link("zz/far-away", "hardlinks/z-file")
	g.file("hardlinks/z-file", Text(g.rng.Uint64(), 5000)).Mode = 0o4750
	g.file("hardlinks/large", Noise(g.rng.Uint64(), 400<<10)).Xattrs = xattrs("user.a", "b")
	g.link("hardlinks/large-2", "hardlinks/large")
	g.file("hardlinks/empty", Zero(0))
	g.link("hardlinks/empty-2", "hardlinks/empty")
	g.add(fstree.Entry{Path: "hardlinks/symlink", Type: fstree.Symlink, Mode: 0o777, Linkname: "empty"})
	g.link("hardlinks/symlink-2", "hardlinks/symlink")
	g.add(fstree.Entry{Path: "hardlinks/fifo", Type: fstree.FIFO, Mode: 0o644})
	g.link("hardlinks/fifo-2", "hardlinks/fifo")
	g.add(fstree.Entry{Path: "hardlinks/null", Type: fstree.CharDevice, Mode: 0o666, Major: 1, Minor: 3})
	g.link("hardlinks/null-2", "hardlinks/null")
	g.file("hardlinks/many-names", Text(3, 3))
	for i := range 300 {
		g.link(fmt.Sprintf("hardlinks/many/%d", i), "hardlinks/many-names")
	}
}

// attributes on other types than files and directories stand in specials: the
// kernel allows user attributes only on these two.
func (g *generator) attributes() {
	long := strings.Repeat("0123456789abcdef", 400)
	capNetRaw := "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00" // VFS_CAP_REVISION_2
	sets := [][]fstree.Xattr{
		xattrs("user.empty", ""),
		xattrs("user.n", "1"),
		xattrs("user.n", "1", "user.m", "2"),
		xattrs("user.long", long),
		xattrs("user.other", long, "user.short", "s"),
		xattrs("security.capability", capNetRaw),
		xattrs("security.capability", capNetRaw, "security.selinux", "label\x00", "trusted.t", "\x00\xff", "user.u", "u"),
		xattrs("trusted.x", long[:65], "trusted.y", long[:64]),
		xattrs("user."+strings.Repeat("n", 250), "longest name"),
		xattrs("user.\xff\xfe", "name that is not UTF-8"),
		xattrs("user.largest", strings.Repeat("v", 64<<10)),
	}
	var many []string
	for i := range 100 {
		many = append(many, fmt.Sprintf("user.number-%d", i), strings.Repeat("x", i))
	}
	sets = append(sets, xattrs(many...))
	for i, set := range sets {
		g.file(fmt.Sprintf("xattrs/file-%d", i), Text(uint64(i), 30)).Xattrs = set
		g.file(fmt.Sprintf("xattrs/same-%d", i), Text(uint64(i), 30)).Xattrs = set
		g.dir(fmt.Sprintf("xattrs/dir-%d", i), 0o755).Xattrs = set
	}
	for i := range 540 { // more than one metadata block of sets
		g.file(fmt.Sprintf("xattrs/set/%d", i), Zero(0)).Xattrs = xattrs("user.set", fmt.Sprint(i), "user.shared", long[:i])
	}
}

func (g *generator) directories() {
	g.dir("directories/empty", 0o755)
	deep := "directories/deep"
	for i := range 100 {
		deep += fmt.Sprintf("/%d", i)
	}
	g.file(deep+"/bottom", Text(9, 9))
	for i := range 350 { // a listing of more than 64 KiB
		g.file(fmt.Sprintf("directories/long-names/%s%03d", strings.Repeat("l", 200), i), Zero(0))
	}
	for i := range 300 { // each inode far from its neighbour's
		g.file(fmt.Sprintf("directories/many/%03d/file", i), Text(uint64(i), 40))
	}
	for _, n := range []int{256, 257, 512} { // around the limit of a header
		for i := range n {
			g.file(fmt.Sprintf("directories/%d/%03d", n, i), Zero(0))
		}
	}
	g.dir("directories/long-names", 0o711).UID = 7
}

func (g *generator) bigDir(n int) {
	for i := range n {
		f := g.file(fmt.Sprintf("big/entry-%06d", i*7919%n), Zero(0))
		f.UID = uint32(i % 5)
		if i%50 == 0 {
			f.Content = Text(uint64(i), 100)
			f.Size = 100
		}
	}
	g.dir("big/subdirectory", 0o755)
}

func (g *generator) bigFile(size int64) {
	c := Text(g.rng.Uint64(), size)
	g.file("big-file", WithHole(c, 64<<10, size&^0xffff-128<<10))
}
