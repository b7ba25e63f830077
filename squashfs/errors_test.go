package squashfs_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/abupdate/abupdate/internal/fault"
	"github.com/abupdate/abupdate/internal/fstree"
	"github.com/abupdate/abupdate/squashfs"
	"github.com/abupdate/abupdate/squashfs/squashfstest"
)

func file(path string, c squashfstest.Content) squashfstest.File {
	return squashfstest.File{Entry: fstree.Entry{Path: path, Type: fstree.Regular, Mode: 0o644, Size: c.Size()}, Content: c}
}

func entry(path string, typ fstree.Type, linkname string) squashfstest.File {
	return squashfstest.File{Entry: fstree.Entry{Path: path, Type: typ, Mode: 0o755, Linkname: linkname}}
}

func withXattrs(pairs ...string) squashfstest.File {
	f := file("f", squashfstest.Zero(0))
	for i := 0; i < len(pairs); i += 2 {
		f.Xattrs = append(f.Xattrs, fstree.Xattr{Name: pairs[i], Value: []byte(pairs[i+1])})
	}
	return f
}

// TestRefused has trees that no squashfs can hold, or that make no sense; the
// last entry is the wrong one unless Close finds it.
func TestRefused(t *testing.T) {
	text := squashfstest.Text(1, 100)
	for _, tt := range []struct {
		name  string
		files []squashfstest.File
		want  string
	}{
		{"same path twice", []squashfstest.File{file("a/b", text), file("a/b", text)}, `adding "a/b": added before`},
		{"same directory twice", []squashfstest.File{entry("a", fstree.Directory, ""), entry("a", fstree.Directory, "")}, `adding "a": added before`},
		{"root twice", []squashfstest.File{entry("", fstree.Directory, ""), entry("", fstree.Directory, "")}, `adding "": added before`},
		{"root is a file", []squashfstest.File{file("", text)}, `adding "": a regular file where a directory with entries is`},
		{"file over an implicit directory", []squashfstest.File{file("a/b", text), file("a", text)}, `adding "a": a regular file where a directory`},
		{"below a file", []squashfstest.File{file("a", text), file("a/b", text)}, `adding "a/b": "a" is a regular file, not a directory`},
		{"below a symlink", []squashfstest.File{entry("x/s", fstree.Symlink, "."), file("x/s/b", text)}, `adding "x/s/b": "x/s" is a symlink, not a directory`},
		{"absolute path", []squashfstest.File{file("/a", text)}, `adding "/a": "" is no name in a path`},
		{"two slashes", []squashfstest.File{file("a//b", text)}, `"" is no name`},
		{"slash at the end", []squashfstest.File{entry("a/", fstree.Directory, "")}, `"" is no name`},
		{"dot", []squashfstest.File{file("./a", text)}, `"." is no name`},
		{"climbing out", []squashfstest.File{file("a/../../b", text)}, `".." is no name`},
		{"zero byte in a name", []squashfstest.File{file("a\x00b", text)}, `has a zero byte`},
		{"long name", []squashfstest.File{file("d/"+strings.Repeat("x", 256), text)}, `is longer than 255 bytes`},
		{"no type", []squashfstest.File{entry("a", 0, "")}, `adding "a": unknown type 0`},
		{"large device number", []squashfstest.File{{Entry: fstree.Entry{Path: "d", Type: fstree.CharDevice, Major: 4096}}}, `device number 4096:0`},
		{"empty symlink", []squashfstest.File{entry("s", fstree.Symlink, "")}, `symlink target of 0 bytes`},
		{"long symlink", []squashfstest.File{entry("s", fstree.Symlink, strings.Repeat("x", 4096))}, `symlink target of 4096 bytes`},
		{"negative size", []squashfstest.File{{Entry: fstree.Entry{Path: "n", Type: fstree.Regular, Size: -1}}}, `adding "n": size -1`},
		{"hardlink to nothing", []squashfstest.File{entry("l", fstree.Hardlink, "gone")}, `adding "l": no entry "gone"`},
		{"hardlink to a directory", []squashfstest.File{entry("d", fstree.Directory, ""), entry("l", fstree.Hardlink, "d")}, `adding "l": "d" is a directory`},
		{"hardlink to the root", []squashfstest.File{entry("l", fstree.Hardlink, "")}, `adding "l": "" is a directory`},
		{"hardlink to itself", []squashfstest.File{entry("l", fstree.Hardlink, "l")}, `adding "l": no entry "l"`},
		{"hardlinks in a circle", []squashfstest.File{entry("x", fstree.Hardlink, "z"), entry("y", fstree.Hardlink, "x"), entry("z", fstree.Hardlink, "y")}, `adding "x": no entry "z"`},
		{"ACL", []squashfstest.File{withXattrs("system.posix_acl_access", "x")}, `attribute "system.posix_acl_access": a squashfs holds only`},
		{"attribute without a name", []squashfstest.File{withXattrs("user.", "x")}, `attribute "user.": not a name`},
		{"attribute with a long name", []squashfstest.File{withXattrs("user."+strings.Repeat("x", 251), "x")}, `not a name of 1 to 255 bytes`},
		{"attribute with a long value", []squashfstest.File{withXattrs("user.x", strings.Repeat("x", 65537))}, `value of 65537 bytes is longer`},
		{"attribute twice", []squashfstest.File{withXattrs("user.x", "1", "user.x", "2")}, `not sorted and unique`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			before := runtime.NumGoroutine()
			var sink memory
			w, err := newCreator(&sink, squashfs.Options{})
			if err != nil {
				t.Fatal(err)
			}
			err = w.addAll(tt.files)
			if err == nil {
				_, err = w.close()
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v; want one with %q", err, tt.want)
			}
			if sink.first != nil {
				t.Error("the image was finished")
			}
			wantStopped(t, w, err, before)
		})
	}
}

// wantStopped checks that w is unusable after err and has no goroutines.
func wantStopped(t *testing.T, w *creator, err error, before int) {
	t.Helper()
	if w.refused == nil {
		if _, again := w.File("more", 0, nil); again != err {
			t.Errorf("File after the error %v = %v", err, again)
		}
		if _, again := w.close(); again != err {
			t.Errorf("Close after the error %v = %v", err, again)
		}
	}
	w.Abort()
	wantGoroutines(t, before)
}

func wantGoroutines(t *testing.T, want int) {
	t.Helper()
	for range 200 {
		if runtime.NumGoroutine() <= want {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	stacks := make([]byte, 1<<16)
	t.Errorf("%d goroutines; want %d\n%s", runtime.NumGoroutine(), want, stacks[:runtime.Stack(stacks, true)])
}

// TestContent has contents that do not fit their entry.
func TestContent(t *testing.T) {
	for _, size := range []int64{0, 1, 1000, 300 << 10, 2 << 20} {
		whole := squashfstest.Text(1, size+1)
		rows := []struct {
			name    string
			content io.Reader
			want    string
		}{
			{"longer", whole.Reader(), fmt.Sprintf(`adding "dir/f": content is longer than its %d bytes`, size)},
		}
		if size > 0 {
			rows = append(rows, []struct {
				name    string
				content io.Reader
				want    string
			}{
				{"shorter", io.LimitReader(whole.Reader(), size-1), fmt.Sprintf(`adding "dir/f": content ends at byte %d of %d`, size-1, size)},
				{"empty", strings.NewReader(""), fmt.Sprintf(`adding "dir/f": content ends at byte 0 of %d`, size)},
				{"missing", nil, `adding "dir/f": no content`},
				{"fails", io.MultiReader(io.LimitReader(whole.Reader(), size/2), iotest.ErrReader(errors.New("cable cut"))),
					fmt.Sprintf(`adding "dir/f": reading content at byte %d: cable cut`, size/2)},
				{"fails at the end", io.MultiReader(io.LimitReader(whole.Reader(), size), iotest.ErrReader(errors.New("bad digest"))),
					fmt.Sprintf(`adding "dir/f": reading content at byte %d: bad digest`, size)},
			}...)
		}
		for _, tt := range rows {
			t.Run(fmt.Sprintf("%d bytes, %s", size, tt.name), func(t *testing.T) {
				before := runtime.NumGoroutine()
				w, err := newCreator(&memory{}, squashfs.Options{})
				if err != nil {
					t.Fatal(err)
				}
				err = w.add(fstree.Entry{Path: "dir/f", Type: fstree.Regular, Size: size}, tt.content)
				if err == nil || err.Error() != tt.want {
					t.Errorf("Add() = %v; want %s", err, tt.want)
				}
				wantStopped(t, w, err, before)
			})
		}
	}
}

// TestContentInPieces reads contents that come byte by byte or with the end.
func TestContentInPieces(t *testing.T) {
	f := file("f", squashfstest.Text(1, 50_000))
	opt := squashfs.Options{BlockSize: 4096}
	want, _ := build(t, []squashfstest.File{f}, opt)
	for name, slow := range map[string]func(io.Reader) io.Reader{"half": iotest.HalfReader, "data with EOF": iotest.DataErrReader, "one byte": iotest.OneByteReader} {
		var sink memory
		w, err := newCreator(&sink, opt)
		if err != nil {
			t.Fatal(err)
		}
		if err := w.add(f.Entry, slow(f.Content.Reader())); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if _, err := w.close(); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if !bytes.Equal(sink.image(), want) {
			t.Errorf("%s: the image differs", name)
		}
	}
}

// A brokenSink fails when it has taken in left bytes.
type brokenSink struct {
	left  int
	first bool // fails in WriteFirst only
	err   error
}

func (s *brokenSink) Write(p []byte) (int, error) {
	if s.left -= len(p); s.left < 0 {
		return max(0, len(p)+s.left), s.err
	}
	return len(p), nil
}

func (s *brokenSink) WriteFirst([]byte) error {
	if s.first || s.left < 0 {
		return s.err
	}
	return nil
}

func TestSinkFails(t *testing.T) {
	full := fault.Errorf(fault.NoRoom, "slot is full")
	files := []squashfstest.File{file("a", squashfstest.Noise(1, 3<<20)), file("b", squashfstest.Noise(2, 100<<10)), file("c", squashfstest.Noise(3, 9<<20))}
	_, stats := build(t, files, squashfs.Options{})
	for _, left := range []int{0, 1, 4096, 1 << 20, 5 << 20, int(stats.Used - stats.Tables - 4096), int(stats.Bytes - 4097), -1} {
		t.Run(fmt.Sprintf("after %d bytes", left), func(t *testing.T) {
			before := runtime.NumGoroutine()
			sink := &brokenSink{left: left, err: full}
			if left < 0 {
				sink = &brokenSink{left: 1 << 30, first: true, err: full}
			}
			w, err := newCreator(sink, squashfs.Options{Workers: 3})
			if err != nil {
				t.Fatal(err)
			}
			err = w.addAll(files)
			if err == nil {
				_, err = w.close()
			}
			if !errors.Is(err, full) || fault.KindOf(err) != fault.NoRoom || !strings.HasPrefix(fmt.Sprint(err), "writing the image") {
				t.Errorf("error %v; want one that wraps %q", err, full)
			}
			wantStopped(t, w, err, before)
		})
	}
}

func TestAbort(t *testing.T) {
	before := runtime.NumGoroutine()
	var sink memory
	w, err := newCreator(&sink, squashfs.Options{Workers: 8})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.addAll([]squashfstest.File{file("a", squashfstest.Noise(1, 3<<20))}); err != nil {
		t.Fatal(err)
	}
	w.Abort()
	wantGoroutines(t, before)
	if _, err := w.close(); err == nil || sink.first != nil {
		t.Errorf("Close() after Abort = %v, superblock written: %v; want an error and none", err, sink.first != nil)
	}
}

func TestCloseTwice(t *testing.T) {
	var sink memory
	w, err := newCreator(&sink, squashfs.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.close(); err != nil {
		t.Fatalf("Close() of an empty image: %v", err)
	}
	if _, err := w.close(); err == nil {
		t.Error("second Close() = nil; want an error")
	}
	w.Abort()
	if _, err := w.File("f", 0, nil); err == nil {
		t.Error("File() after Close = nil; want an error")
	}
	if out := unsquashfs(t, "-lln", save(t, sink.image())); !strings.Contains(out, "drwxr-xr-x 0/0") {
		t.Errorf("empty image lists as %q; want a root of mode 0755", out)
	}
}

// TestWrongContent has trees that name contents which File did not return.
func TestWrongContent(t *testing.T) {
	for _, tt := range []struct {
		name    string
		size    int64
		content fstree.Content
		want    string
	}{
		{"of another length", 2999, 0, `adding "d/f": its content has 3000 bytes, not 2999`},
		{"of an empty file", 0, 0, `adding "d/f": its content has 3000 bytes, not 0`},
		{"none", 3000, fstree.NoContent, `adding "d/f": its content has 0 bytes, not 3000`},
		{"never seen", 3000, 1, `adding "d/f": no content 1`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			before := runtime.NumGoroutine()
			w, err := newCreator(&memory{}, squashfs.Options{})
			if err != nil {
				t.Fatal(err)
			}
			if c, err := w.File("x", 3000, squashfstest.Text(1, 3000).Reader()); c != 0 || err != nil {
				t.Fatalf("File() = %d, %v; want 0 for the first", c, err)
			}
			w.tree.SetContent(mustAdd(t, w.tree, fstree.Entry{Path: "d/f", Type: fstree.Regular, Size: tt.size}), tt.content)
			if _, err = w.close(); err == nil || err.Error() != tt.want {
				t.Errorf("Close() = %v; want %s", err, tt.want)
			}
			wantStopped(t, w, err, before)
		})
	}
}

func TestTooManyOwners(t *testing.T) {
	w, err := newCreator(&memory{}, squashfs.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Abort()
	for i := range uint32(65535) {
		if err := w.add(fstree.Entry{Path: fmt.Sprintf("%05d", i), Type: fstree.FIFO, UID: i + 1}, nil); err != nil {
			t.Fatal(err)
		}
	}
	_, err = w.close()
	if want := `adding "65534": more than 65535 different user and group numbers`; err == nil || err.Error() != want {
		t.Errorf("Close() with 65535 owners and root = %v; want %s", err, want)
	}
}
