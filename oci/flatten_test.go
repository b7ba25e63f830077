package oci_test

import (
	"os"
	"strings"
	"testing"

	"github.com/abupdate/abupdate/internal/fault"
	"github.com/abupdate/abupdate/oci"
	"github.com/google/go-cmp/cmp"
)

// A flattenRow is one case. Each is compared with its listing, with the model
// and with umoci.
type flattenRow struct {
	name   string
	layers [][]item
	want   []string
	// wantErr is part of the message when the image is refused.
	wantErr string
	// umoci says why umoci's result is another one, "" when it must be equal.
	umoci string
	// noModel is set where the model does not know the tar's dialect.
	noModel bool
}

func TestFlatten(t *testing.T) {
	for _, rows := range [][]flattenRow{whiteoutRows, typeRows, hardlinkRows, nameRows, parentRows, metadataRows, refusedRows} {
		for _, tt := range rows {
			t.Run(tt.name, func(t *testing.T) {
				t.Parallel()
				testFlatten(t, tt, tarsOf(t, tt.layers))
			})
		}
	}
}

func testFlatten(t *testing.T, tt flattenRow, tars [][]byte) {
	all, _, err := read(t, oci.MemoryImage(oci.Options{}, tars...))
	if tt.wantErr != "" {
		if err == nil || !strings.Contains(err.Error(), tt.wantErr) {
			t.Errorf("flattening: error %v; want one with %q", err, tt.wantErr)
		}
		if got := fault.KindOf(err); got != fault.Verify {
			t.Errorf("flattening: kind %d of %v; want %d", got, err, fault.Verify)
		}
	} else if err != nil {
		t.Fatalf("flattening: %v", err)
	}
	if diff := cmp.Diff(tt.want, lines(all)); diff != "" {
		t.Errorf("flattened (-want +got):\n%s", diff)
	}
	if !tt.noModel {
		model, modelErr := flattenModel(tt.layers)
		if (modelErr != nil) != (tt.wantErr != "") {
			t.Errorf("model: error %v; want one: %v", modelErr, tt.wantErr != "")
		}
		if diff := cmp.Diff(lines(model), lines(all)); err == nil && diff != "" {
			t.Errorf("flattened (-model +got):\n%s", diff)
		}
	}
	compareUmoci(t, tt, tars, all)
}

// compareUmoci wants umoci's result, or its refusal, to equal ours; where a
// row says that it differs, it must indeed.
func compareUmoci(t *testing.T, tt flattenRow, tars [][]byte, all []found) {
	t.Helper()
	theirs, err := unpackUmoci(t, tars)
	if os.Getuid() != 0 {
		theirs, all = ordinary(theirs), ordinary(all)
	}
	diff := cmp.Diff(lines(theirs), lines(all))
	refused := (err != nil) == (tt.wantErr != "")
	switch {
	case tt.umoci == "" && !refused:
		t.Errorf("umoci: error %v; want one: %v", err, tt.wantErr != "")
	case tt.umoci == "" && err == nil && diff != "":
		t.Errorf("flattened (-umoci +got):\n%s", diff)
	case tt.umoci != "" && refused && diff == "" && os.Getuid() == 0:
		t.Errorf("umoci gives the same result; it should not, as %s (its error: %v)", tt.umoci, err)
	}
}
