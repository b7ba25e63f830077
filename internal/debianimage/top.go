package debianimage

import (
	"archive/tar"
	"bytes"
	"embed"
	"fmt"
	"io"
	"os"
	"path"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"

	updaterunits "github.com/abupdate/abupdate/updater/units"
)

//go:embed files
var files embed.FS

// A version is what makes one image differ from another.
type version struct {
	number string
	what   string // for people
	broken bool
}

// topLayer holds the project's programs and the configuration of the demo's
// device. systemd's units are enabled by symlinks below /usr, so that /etc
// stays the administrator's.
func topLayer(m meta, bin Binaries, v version) (v1.Layer, error) {
	const units = "usr/lib/systemd/system/"
	l := &layerWriter{}
	l.dir("dev") // mmdebstrap was told to leave it out, with its device nodes
	l.program("usr/bin/abupdate", bin.Abupdate)
	l.program("usr/lib/abupdate-demo/agent", bin.Agent)

	l.file(units+"abupdate-mark-good.service", 0o644, updaterunits.MarkGoodService)
	l.symlink(units+"multi-user.target.wants/abupdate-mark-good.service", "../abupdate-mark-good.service")
	l.unit("abupdate-agent.service", "multi-user.target.wants")
	l.unit("ssh-host-key.service", "ssh.service.requires")
	l.embedded(units+"ssh.service.d/10-health.conf", "ssh-health.conf")
	l.symlink(units+"boot-complete.target.requires/ssh.service", "../ssh.service")
	l.symlink(units+"multi-user.target.wants/systemd-networkd.service", "../systemd-networkd.service")
	l.embedded("usr/lib/systemd/network/80-demo.network", "network.conf")
	l.embedded(units+"serial-getty@ttyS0.service.d/10-autologin.conf", "autologin.conf")
	// An image does not update itself package by package, and /var is not on LVM.
	for _, unit := range []string{"apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "e2scrub_all.timer", "e2scrub_reap.service"} {
		l.symlink("etc/systemd/system/"+unit, "/dev/null")
	}

	sshd := "sshd.conf"
	if v.broken {
		sshd = "sshd-broken.conf"
	}
	l.embedded("etc/ssh/sshd_config.d/10-device.conf", sshd)
	l.embedded("etc/abupdate/config.toml", "config.toml")
	l.file("etc/hostname", 0o644, []byte("device\n"))
	l.file("etc/motd", 0o644, fmt.Appendf(nil, "abupdate demo, version %s: %s\n", v.number, v.what))
	l.file("usr/lib/os-release", 0o644, fmt.Appendf([]byte(m.OSRelease), "IMAGE_ID=abupdate-demo\nIMAGE_VERSION=%s\n", v.number))
	// Says to systemd that the caches below /etc are as new as /usr: they come
	// with the image, and would be made again at every boot.
	l.file("etc/.updated", 0o644, nil)
	return l.layer()
}

// A layerWriter collects the entries of a small layer; the first error stays.
type layerWriter struct {
	buf bytes.Buffer
	tw  *tar.Writer
	err error
}

func (l *layerWriter) add(h tar.Header, data []byte) {
	if l.err != nil {
		return
	}
	if l.tw == nil {
		l.tw = tar.NewWriter(&l.buf)
	}
	h.Size, h.ModTime, h.Format = int64(len(data)), time.Unix(epoch, 0), tar.FormatPAX
	if l.err = l.tw.WriteHeader(&h); l.err == nil {
		_, l.err = l.tw.Write(data)
	}
}

func (l *layerWriter) file(name string, mode int64, data []byte) {
	l.add(tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: mode}, data)
}

func (l *layerWriter) dir(name string) {
	l.add(tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: 0o755}, nil)
}

func (l *layerWriter) symlink(name, to string) {
	l.add(tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: to, Mode: 0o777}, nil)
}

func (l *layerWriter) program(name, from string) {
	data, err := os.ReadFile(from)
	if err != nil && l.err == nil {
		l.err = fmt.Errorf("adding program: %w", err)
	}
	l.file(name, 0o755, data)
}

func (l *layerWriter) embedded(name, from string) {
	data, err := files.ReadFile("files/" + from)
	if err != nil && l.err == nil {
		l.err = err
	}
	l.file(name, 0o644, data)
}

// unit adds a unit of systemd and enables it.
func (l *layerWriter) unit(name, wantedBy string) {
	const dir = "usr/lib/systemd/system"
	l.embedded(path.Join(dir, name), name)
	l.symlink(path.Join(dir, wantedBy, name), "../"+name)
}

func (l *layerWriter) layer() (v1.Layer, error) {
	if l.err == nil {
		l.err = l.tw.Close()
	}
	if l.err != nil {
		return nil, l.err
	}
	return tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(l.buf.Bytes())), nil
	}, tarball.WithMediaType(types.OCILayer))
}
