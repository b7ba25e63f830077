package faulttest_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"log"
	"math/big"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	fs "github.com/abupdate/abupdate/internal/faultserver"
)

// A sourceRow is a fault of another source than an update in a registry.
type sourceRow struct {
	row
	faults []fs.Fault
	args   []string
}

// webRows are web servers with a layout.
var webRows = []sourceRow{
	{row: row{"web server", 0, nil}},
	{row{"web server that cuts every 200 kB", 0, nil}, []fs.Fault{fs.On(fs.Cut(200_000), fs.Data, fs.Tree)}, nil},
	{row{"web server without ranges", 0, nil}, []fs.Fault{fs.NoRanges()}, nil},
	{row{"web server without ranges, --no-full", 3, []string{"no ranges"}}, []fs.Fault{fs.NoRanges()}, []string{"--no-full"}},
	{row{"web server without index.json", 2, []string{"index.json"}}, []fs.Fault{fs.On(fs.Status(404), fs.Index)}, nil},
	{row{"web server with a page of its own for index.json", 4, []string{"index.json", "invalid character"}}, []fs.Fault{fs.On(fs.Replace([]byte("<html>")), fs.Index)}, nil},
	{row{"web server with a flipped byte in the manifest", 4, []string{"its content has digest"}}, []fs.Fault{fs.On(fs.Flip(50), fs.Manifest)}, nil},
	{row{"web server with a flipped byte in the data", 4, []string{"came with hash"}}, []fs.Fault{fs.On(fs.Flip(2_600_000), fs.Data)}, nil},
}

// TestWeb applies an update from a web server, with TLS.
func TestWeb(t *testing.T) {
	for _, tt := range webRows {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			d := newDevice(t, "")
			ref := d.overTLS(t)
			d.Set(tt.faults...)
			tt.check(t, d, d.apply(t, append(tt.args, ref)...), ref)
		})
	}
	tell(t, webStories)
}

var webStories = []story{
	{row{"web server whose certificate is not valid yet", 3, []string{"not yet valid", "the clock of this device says 20"}}, outOfTime(10)},
	{row{"web server whose certificate is valid no more", 3, []string{"has expired", "the clock of this device says 20"}}, outOfTime(-10)},
	{row{"web server with a certificate of its own", 3, []string{"certificate"}}, func(t *testing.T, r row) {
		d := newDevice(t, "")
		ref := d.overTLS(t)
		trusted := d.env
		d.env = nil
		d.checkFailed(t, d.apply(t, ref), r.code, r.says...)
		d.env = trusted
		d.checkFinishes(t, "2.0", ref)
	}},
}

// outOfTime has a certificate that is good for a day, some years from now: what
// a device sees whose clock is wrong.
func outOfTime(years int) func(*testing.T, row) {
	return func(t *testing.T, r row) {
		d := newDevice(t, "")
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		day := time.Now().AddDate(years, 0, 0)
		cert := &x509.Certificate{
			SerialNumber: big.NewInt(1), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, NotBefore: day, NotAfter: day.AddDate(0, 0, 1),
			IsCA: true, BasicConstraintsValid: true,
		}
		der, err := x509.CreateCertificate(rand.Reader, cert, cert, key.Public(), key)
		if err != nil {
			t.Fatal(err)
		}
		srv := httptest.NewUnstartedServer(d.Server)
		srv.Config.ErrorLog = log.New(io.Discard, "", 0)
		srv.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
		srv.StartTLS()
		t.Cleanup(srv.Close)
		ca := filepath.Join(d.home, "late.pem")
		if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
		d.env = []string{"SSL_CERT_FILE=" + ca}
		d.checkFailed(t, d.apply(t, srv.URL+"/some/where:v2"), r.code, r.says...)
		d.checkFinishes(t, "2.0", d.overTLS(t))
	}
}

// overTLS serves the same with TLS, as files, and returns a reference. The
// command trusts the server from then on.
func (d *device) overTLS(t *testing.T) (ref string) {
	t.Helper()
	host, ca := d.StartTLS(t)
	path := filepath.Join(d.home, "ca.pem")
	if err := os.WriteFile(path, ca, 0o600); err != nil {
		t.Fatal(err)
	}
	d.env = []string{"SSL_CERT_FILE=" + path}
	return "https://" + host + "/some/where:v2"
}

func (tt sourceRow) check(t *testing.T, d *device, got result, ref string) {
	t.Helper()
	t.Logf("exit code %d: %s", got.code, got.message())
	if tt.code == 0 {
		d.checkApplied(t, got, "2.0")
		return
	}
	d.checkFailed(t, got, tt.code, tt.says...)
	d.checkFinishes(t, "2.0", ref)
}

// imageRows are registries with an ordinary image, which is flattened on its
// way into the slot.
var imageRows = []sourceRow{
	{row{"layer of an image cut every 50 kB", 0, nil}, []fs.Fault{fs.On(fs.Cut(50_000), fs.Layer)}, nil},
	{row{"layer of an image with a flipped byte", 4, []string{"its content has digest", "slot b is empty now"}}, []fs.Fault{fs.On(fs.Flip(-1), fs.Layer)}, nil},
	{row{"layer of an image missing", 4, []string{"is missing in the registry"}}, []fs.Fault{fs.On(fs.Status(404), fs.Layer)}, nil},
	{row{"layer of an image forbidden", 3, []string{"the registry answers 403 Forbidden"}}, []fs.Fault{fs.On(fs.Status(403), fs.Layer)}, nil},
	{row{"layer of an image longer than said", 4, []string{"the server has"}}, []fs.Fault{fs.On(fs.Resize(4096), fs.Layer)}, nil},
	{row{"config of an image with a flipped byte", 4, []string{"config", "its content has digest"}}, []fs.Fault{fs.On(fs.Flip(20), fs.Config)}, nil},
}

// TestImage applies an ordinary image from a registry.
func TestImage(t *testing.T) {
	setUp(t)
	for _, tt := range imageRows {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			d := newDevice(t, shared.images)
			ref := d.ref("twice")
			d.Set(tt.faults...)
			tt.check(t, d, d.apply(t, append(tt.args, ref)...), ref)
		})
	}
}
