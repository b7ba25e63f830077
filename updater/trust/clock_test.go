package trust_test

import (
	"bytes"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/abupdate/abupdate/updater/trust"
	"github.com/abupdate/abupdate/updater/trust/keys"
)

// A device may start in 1970, and for ever without a network: nothing here may
// ask for the time.
func TestNoClock(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil || !slices.Contains(files, "envelope.go") {
		t.Fatalf("Glob() = %v, %v; want the files of the package", files, err)
	}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ImportsOnly)
		if err != nil {
			t.Fatal(err)
		}
		for _, im := range f.Imports {
			switch im.Path.Value {
			case `"time"`, `"crypto/x509"`, `"net"`, `"net/http"`:
				t.Errorf("%s imports %s", name, im.Path.Value)
			}
		}
	}
}

// What a bundle says of times does not matter, whatever it is.
func TestTimesInBundles(t *testing.T) {
	k := newKey(t, keys.P256)
	digest := digestOf([]byte("manifest"))
	statement := `{"_type":"https://in-toto.io/Statement/v1","subject":[{"digest":{"sha256":"` + digest[7:] +
		`"}}],"predicateType":"https://sigstore.dev/cosign/sign/v1","predicate":{}}`
	bundle := dsse(t, k, "application/vnd.in-toto+json", statement)
	for _, seconds := range []string{"0", "4070908800"} { // 1970 and 2099
		b := bytes.Replace(bundle, []byte("{"), []byte(`{"verificationMaterial":{"tlogEntries":[{"integratedTime":"`+seconds+`"}]},`), 1)
		if _, err := (trust.Set{k.Public()}).VerifyDigest(digest, []trust.Signature{{Bundle: b}}); err != nil {
			t.Errorf("a bundle that was logged at second %s: %v", seconds, err)
		}
	}
}
