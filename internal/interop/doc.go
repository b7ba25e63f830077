// Package interop tests signatures against cosign itself, both ways: "make
// interop". It also makes what the tests of updater/trust have of cosign in
// their testdata.
package interop
