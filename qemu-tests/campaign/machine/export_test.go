package machine

import "testing"

// NextRoot is the folder of the root, with the images around it, that the next
// machine gets.
func NextRoot(t *testing.T) string {
	t.Helper()
	r, err := takeRoot()
	if err != nil {
		t.Fatal(err)
	}
	if err := r.release(true); err != nil {
		t.Fatal(err)
	}
	return r.top
}
