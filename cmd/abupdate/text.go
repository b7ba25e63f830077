package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/abupdate/abupdate/internal/manifest"
)

// printManifest prints what a manifest says, one field a line.
func printManifest(w io.Writer, m *manifest.Manifest) {
	row := func(name, value string) {
		if value != "" {
			fmt.Fprintf(w, "%s\t%s\n", name, printable(value))
		}
	}
	row("version", m.Version)
	row("title", m.Title)
	row("architecture", m.Architecture)
	row("compatible", m.Compatible)
	row("kernel", m.Kernel)
	row("kernel arguments", m.Kargs)
	row("minimum version", m.MinVersion)
	row("/etc", m.Etc)
	row("kept folders", strings.Join(m.Persist, ", "))
	row("created", m.Created)
	row("source", m.SourceImage)
	row("source digest", m.SourceDigest)
	row("source signed by", m.SourceSigner)
	if m.ImageBytes != 0 {
		row("image", fmt.Sprintf("%s (%d blocks), hash tree %s", bytesText(m.ImageBytes), m.DataBlocks, bytesText(m.TreeBytes)))
	}
	row("root hash", m.RootHash)
	row("salt", m.Salt)
	row("encoder", m.Encoder)
}

// printDropped says once what the image could not keep.
func printDropped(w io.Writer, dropped map[string]int) {
	for _, name := range slices.Sorted(maps.Keys(dropped)) {
		fmt.Fprintf(w, "left out\t%s of %d files\n", printable(name), dropped[name])
	}
}

// bytesText prints a size for people.
func bytesText(n int64) string {
	const kib = 1024
	units := []string{"KiB", "MiB", "GiB", "TiB"}
	if n < kib {
		return fmt.Sprintf("%d B", n)
	}
	v, i := float64(n)/kib, 0
	for v >= kib && i < len(units)-1 {
		v, i = v/kib, i+1
	}
	return fmt.Sprintf("%.1f %s", v, units[i])
}

// counted is so many of something.
func counted[N int | int64](n N, what string) string {
	if n == 1 {
		return "one " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// printable shows a text that comes from an image: what would move the cursor
// or end the line is escaped.
func printable(s string) string {
	if strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) || !utf8.ValidString(s) {
		quoted := strconv.Quote(s)
		return quoted[1 : len(quoted)-1]
	}
	return s
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
