// Package inflate reads gzip (RFC 1952, RFC 1951), for streams of a gigabyte
// that are read in large pieces and that nobody vouches for. It decodes into
// the caller's buffer, without a window of its own in between, several symbols
// for each time that it looks at the input: half the processor time of
// compress/gzip, which decides how long an image's layers take.
package inflate
