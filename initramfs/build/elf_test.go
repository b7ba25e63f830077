package build_test

import (
	"bytes"
	"compress/gzip"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"

	"github.com/abupdate/abupdate/initramfs/modules/modulestest"
)

// folder makes a module folder: path (with compression by its extension) to
// .modinfo strings separated by "|"; modules.builtin is given as it is.
func folder(t testing.TB, files map[string]string) fstest.MapFS {
	t.Helper()
	fsys := fstest.MapFS{}
	for name, text := range files {
		data := []byte(text)
		if name != "modules.builtin" {
			data = compress(t, name, modulestest.Object(t, strings.Split(text, "|")...))
		}
		fsys[name] = &fstest.MapFile{Data: data}
	}
	return fsys
}

func compress(t testing.TB, name string, b []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	var err error
	switch {
	case strings.HasSuffix(name, ".gz"):
		w := gzip.NewWriter(&out)
		w.Write(b) //nolint:errcheck // a buffer
		err = w.Close()
	case strings.HasSuffix(name, ".xz"):
		w, e := xz.NewWriter(&out)
		if e != nil {
			t.Fatal(e)
		}
		w.Write(b) //nolint:errcheck // a buffer
		err = w.Close()
	case strings.HasSuffix(name, ".zst"):
		w, e := zstd.NewWriter(&out)
		if e != nil {
			t.Fatal(e)
		}
		w.Write(b) //nolint:errcheck // a buffer
		err = w.Close()
	default:
		return b
	}
	if err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}
