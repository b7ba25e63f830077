// Package faultserver serves an OCI image layout as a registry does and as a
// plain web server does, and misbehaves as told: a test says what goes wrong
// with which of the layout's contents, and reads afterwards what was asked for.
//
// As a registry it knows the ping, tokens, manifests by tag and digest, blobs
// with closed ranges (an open one is answered with 416, as some registries
// do), and referrers, by their API or by their fallback tag. The same layout
// lies below any other path as files: oci-layout, index.json, blobs/sha256/.
//
// A Fault changes one answer. Faults are told apart by the Role of what they
// are for and put together:
//
//	s.Set(
//		On(Times(2, RetryAfter(503, "1")), Manifest),
//		On(Cut(64<<10), Tree, Data),
//	)
package faultserver
