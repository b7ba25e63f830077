// Package oci turns an image reference into one ordered list of entries.
package oci
