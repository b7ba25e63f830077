package build_test

import (
	"bytes"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/abupdate/abupdate/initramfs/build"
	"github.com/abupdate/abupdate/initramfs/modules/modulestest"
)

func TestResolveModules(t *testing.T) {
	tests := []struct {
		name    string
		files   map[string]string
		want    []string // asked for
		got     string   // in load order, "?" for optional
		wantErr string
	}{
		{
			name:  "no dependencies, order of the wish",
			files: map[string]string{"kernel/b.ko": "", "kernel/a.ko": ""},
			want:  []string{"b", "a"},
			got:   "b a",
		},
		{
			name:  "dependencies come first and once",
			files: map[string]string{"x/top.ko": "depends=mid,low", "x/mid.ko": "depends=low", "x/low.ko": "depends=", "x/more.ko": "depends=low"},
			want:  []string{"top", "more"},
			got:   "low mid top more",
		},
		{
			name:  "dashes and underscores are the same",
			files: map[string]string{"md/dm-verity.ko": "depends=dm-mod,reed_solomon", "md/dm-mod.ko": "", "lib/reed_solomon.ko": ""},
			want:  []string{"dm_verity"},
			got:   "dm_mod reed_solomon dm_verity",
		},
		{
			name:  "soft dependencies before and after, absent ones left out",
			files: map[string]string{"fs/ext4.ko": "depends=jbd2|softdep=pre: crc32c gone post: late", "fs/jbd2.ko": "", "l/crc32c.ko": "", "l/late.ko": ""},
			want:  []string{"ext4"},
			got:   "?crc32c jbd2 ext4 ?late",
		},
		{
			name:  "a soft dependency on what a module offers",
			files: map[string]string{"fs/ext4.ko": "softdep=pre: crypto-crc32c", "c/crc32c_generic.ko": "depends=libcrc32c", "c/libcrc32c.ko": ""},
			want:  []string{"ext4"},
			got:   "?libcrc32c ?crc32c_generic ext4",
		},
		{
			name:  "builtin modules are left out",
			files: map[string]string{"modules.builtin": "kernel/fs/ext4/ext4.ko\nkernel/lib/crc-t10dif.ko\n", "d/sd_mod.ko": "depends=crc_t10dif"},
			want:  []string{"ext4", "sd_mod"},
			got:   "sd_mod",
		},
		{
			name:  "optional and absent",
			files: map[string]string{"d/virtio_blk.ko": "depends=virtio", "d/virtio.ko": ""},
			want:  []string{"?nvme", "?virtio_blk"},
			got:   "?virtio ?virtio_blk",
		},
		{
			name:  "a dependency of an optional module that is wanted anyway",
			files: map[string]string{"d/virtio_blk.ko": "depends=virtio", "d/virtio.ko": "depends=ring", "d/ring.ko": ""},
			want:  []string{"?virtio_blk", "virtio"},
			got:   "ring virtio ?virtio_blk",
		},
		{
			name:  "compressed modules",
			files: map[string]string{"a.ko.xz": "depends=b", "b.ko.zst": "depends=c", "c.ko.gz": ""},
			want:  []string{"a"},
			got:   "c b a",
		},
		{
			name:  "updates come before the kernel's own",
			files: map[string]string{"kernel/a.ko": "depends=old", "updates/a.ko": "depends=new", "kernel/old.ko": "", "kernel/new.ko": ""},
			want:  []string{"a"},
			got:   "new a",
		},
		{
			name:    "required and absent",
			files:   map[string]string{"a.ko": ""},
			want:    []string{"a", "squashfs"},
			wantErr: "module squashfs is neither",
		},
		{
			name:    "dependency absent",
			files:   map[string]string{"a.ko": "depends=b"},
			want:    []string{"a"},
			wantErr: "module b is neither",
		},
		{
			name:  "optional with an absent dependency",
			files: map[string]string{"a.ko": "depends=b"},
			want:  []string{"?a"},
			got:   "?a",
		},
		{
			name:    "cycle",
			files:   map[string]string{"a.ko": "depends=b", "b.ko": "depends=a"},
			want:    []string{"a"},
			wantErr: "depend on each other: a -> b -> a",
		},
		{
			name:  "a cycle of soft dependencies is no error",
			files: map[string]string{"a.ko": "softdep=pre: b", "b.ko": "softdep=pre: a"},
			want:  []string{"a"},
			got:   "?b a",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			mods, err := build.ResolveModules(build.FromFS(folder(t, tt.files)), tt.want)
			if tt.wantErr != "" {
				if err == nil || !strings.Contains(err.Error(), tt.wantErr) {
					t.Fatalf("ResolveModules(%v) = %v; want error with %q", tt.want, err, tt.wantErr)
				}
				return
			}
			if err != nil {
				t.Fatalf("ResolveModules(%v) = %v", tt.want, err)
			}
			var got []string
			for _, m := range mods {
				name := m.Name
				if m.Optional {
					name = "?" + name
				}
				got = append(got, name)
				if !strings.HasSuffix(m.Path, ".ko") || !bytes.HasPrefix(m.Data, []byte("\x7fELF")) {
					t.Errorf("module %s has path %s and does not start as ELF", m.Name, m.Path)
				}
			}
			if diff := cmp.Diff(tt.got, strings.Join(got, " ")); diff != "" {
				t.Errorf("ResolveModules(%v) mismatch (-want +got):\n%s", tt.want, diff)
			}
		})
	}
}

func TestResolveModulesBadInput(t *testing.T) {
	good := modulestest.Object(t, "depends=")
	for name, data := range map[string][]byte{
		"a.ko":     []byte("not ELF"),
		"a.ko.xz":  []byte("not xz"),
		"a.ko.gz":  good,
		"a.ko.zst": append([]byte("\x28\xb5\x2f\xfd"), good...),
	} {
		_, err := build.ResolveModules(build.FromFS(fstest.MapFS{name: {Data: data}}), []string{"a"})
		if err == nil || !strings.Contains(err.Error(), "reading module "+name) {
			t.Errorf("ResolveModules() of %s = %v; want an error naming the file", name, err)
		}
	}
}

// batches counts reads: an OCI image is read once for each.
type batches struct {
	build.ModuleSource
	n int
}

func (b *batches) Read(names []string) (map[string][]byte, error) {
	b.n++
	return b.ModuleSource.Read(names)
}

func TestResolveModulesReadsInBatches(t *testing.T) {
	files := map[string]string{"a.ko": "depends=b", "b.ko": "depends=c", "c.ko": "", "d.ko": "", "e.ko": "depends=d"}
	src := &batches{ModuleSource: build.FromFS(folder(t, files))}
	if _, err := build.ResolveModules(src, []string{"a", "c", "d", "e"}); err != nil {
		t.Fatal(err)
	}
	if src.n != 2 {
		t.Errorf("ResolveModules() read %d batches; want 2: the wanted ones, then b", src.n)
	}
}
