package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"

	"github.com/abupdate/abupdate/internal/fault"
)

// newMan writes man pages.
func newMan(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "man DIR", Short: "Write man pages into a folder", Args: exactly("DIR"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := os.MkdirAll(args[0], 0o777); err != nil {
				return fmt.Errorf("writing man pages: %w", err)
			}
			epoch := time.Unix(0, 0).UTC() // the same pages every time
			header := &doc.GenManHeader{Title: "ABUPDATE", Section: "8", Source: "abupdate", Manual: "abupdate", Date: &epoch}
			root := cmd.Root()
			root.DisableAutoGenTag = true
			if err := doc.GenManTree(root, header, args[0]); err != nil {
				return fmt.Errorf("writing man pages: %w", err)
			}
			return nil
		},
	}
}

// newDocs prints docs/cli.md, or docs/lint.md.
func newDocs(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "docs [lint]", Hidden: true, Short: "Print docs/cli.md or docs/lint.md", Args: atMost("PAGE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case len(args) == 0:
				return writeDocs(a.stdout, cmd.Root())
			case args[0] == "lint":
				return writeLintDocs(a.stdout)
			}
			return fault.Errorf(fault.Usage, "there is no page %q", args[0])
		},
	}
}

// writeDocs writes the whole reference as one page.
func writeDocs(w io.Writer, root *cobra.Command) error {
	var b bytes.Buffer
	fmt.Fprintf(&b, "# abupdate: the command line\n\n<!-- Made by `abupdate docs > docs/cli.md`; a test compares them. -->\n\n%s\n\n", root.Long)
	b.WriteString(docsIntro)
	for _, group := range root.Groups() {
		fmt.Fprintf(&b, "\n## %s\n", strings.TrimSuffix(group.Title, ":"))
		for _, cmd := range root.Commands() {
			if cmd.GroupID == group.ID && !cmd.Hidden {
				writeCommand(&b, cmd, "###")
			}
		}
	}
	_, err := w.Write(b.Bytes())
	return err
}

// writeCommand writes a command and those below it.
func writeCommand(b *bytes.Buffer, cmd *cobra.Command, heading string) {
	name := strings.TrimPrefix(cmd.CommandPath(), cmd.Root().Name()+" ")
	fmt.Fprintf(b, "\n%s %s\n\n%s.\n\n```\n%s\n```\n\n%s\n", heading, name, cmd.Short, cmd.UseLine(), cmd.Long)
	if flags := cmd.LocalFlags(); flags.HasAvailableFlags() {
		fmt.Fprintf(b, "\n```\n%s```\n", flags.FlagUsages())
	}
	if cmd.Example != "" {
		fmt.Fprintf(b, "\n```sh\n%s\n```\n", strings.ReplaceAll(strings.TrimPrefix(cmd.Example, "  "), "\n  ", "\n"))
	}
	for _, sub := range cmd.Commands() {
		if !sub.Hidden {
			writeCommand(b, sub, heading+"#")
		}
	}
}

// exitCodes are documented, and printed from here only.
var exitCodes = []struct {
	code fault.Kind
	text string
}{
	{0, "done"},
	{fault.Other, "everything that is not below: not root, an I/O error, a boot state of a newer version; `lint` found errors"},
	{fault.Usage, "called wrongly: unknown command or flag, no such file or image, not an image, no kernel in it, a disk without abupdate's layout"},
	{fault.Network, "a registry or server did not answer, or not as it should"},
	{fault.Verify, "a digest, hash or signature does not match; a slot is damaged"},
	{fault.NoRoom, "a slot or disk is too small, or full"},
	{fault.Refused, "the device forbids it: not confirmed, lower version, denied image, other architecture or kernel"},
	{fault.NotGranted, "a reboot lock was not granted"},
	{fault.Busy, "another abupdate is running, or the disk or slot is in use"},
	{fault.Fallback, "`status --exit-code`: the device runs on a fallback"},
	{fault.Nothing, "nothing to do"},
	{fault.Canceled, "interrupted; the running system is untouched"},
}

var docsIntro = func() string {
	var b strings.Builder
	b.WriteString("Global flags: `--json` and `-q`, `--quiet`. `abupdate completion bash|zsh|fish` prints completions,\n" +
		"`abupdate man DIR` writes man pages.\n\n## Output\n\n" +
		"Results go to stdout, everything else to stderr. With `--json` stdout gets one JSON object on one line, and\n" +
		"nothing when the command fails (verify and lint print what they found all the same); stderr gets progress as JSON lines.\n" +
		"`build` of several images prints one object a line for each that was built, as soon as\n" +
		"it is, with the image as `image`; progress lines name it likewise. An error is one line on\n" +
		"stderr, `abupdate: what: where`, also with `--json`.\n\n" +
		"Progress: a line that is drawn over and over on a terminal, else a line every 10 seconds of a step that takes longer;\n" +
		"none with `-q`. With `--json` lines of `step` (resolve, fetch, compare, write, read back, commit, copy, verify), `done`,\n" +
		"`total` (bytes; left out when nobody knows, as is everything that is zero), `remaining`; of an update `copied` (were on\n" +
		"the device) and `fetched` (came over the line) since the step began, `to_fetch` (what will come in all); `rate` (bytes\n" +
		"per second in the last 15 seconds; of what is fetched when `to_fetch` is there, else of `done`) and `eta_seconds`.\n" +
		"A line with `note` says something for people: that all of an image is fetched because the server has no ranges, say.\n\n" +
		"`apply --json`: `slot`, `version`, `image`, `digest`, `root_hash`, `kernel`, `image_bytes`, `kept_bytes` (were in the slot\n" +
		"already), `copied_bytes` (were on the device, those included), `fetched_bytes`, `fetched_ranges`, `held`, `reused`, `update`,\n" +
		"`dry_run` (then what would be copied and fetched).\n\n" +
		"Where signatures are looked at (`apply`, `status`, `verify`, `inspect`): `signatures` (how many), `signed_by` (the trusted\n" +
		"key that made one) and `signature_problem` (why no key that is known will do; `unsigned`). `build`: `signed_by`, IDs of keys.\n\n" +
		"`status --json`: `disk`, `booted` (slot, or null for a disk that this machine does not run from), `next`,\n" +
		"`pending`, `held`, `rollback` (slot or null), `overlay` (`used_bytes`, `total_bytes`), `selector` (`version`, `kernel`, `kexec`, `digest`, `slot_version`, `slot_digest`, `due`), `floor`, `fallback` (reason or null), `slots` with `a`, `b` and `recovery`: `state`\n" +
		"(empty, writing, held, pending, good, bad), `version`, `image`, `digest`, `root_hash`, `kernel`, `tries_left`, `order`,\n" +
		"`kept`, `last_failure`, ...; `reset`, `denied`, `events`.\n\n" +
		"`health --json`: `slot`, `version`, `healthy`, `reason`, `checks` (`name`, `required`, `passed`, `reason`, `seconds`, `output`: the\n" +
		"file with the end of what it printed), `read` (all of the slot was), `confirmed`, `marked_bad`, `next`, `fallback`.\n\n" +
		"`build --json` and `inspect --json`: the manifest's `version`, `architecture`, `compatible`, `kernel`, `root_hash`,\n" +
		"`salt`, `data_blocks`, `image_bytes`, `hash_offset`, `tree_bytes`, `encoder`, `source_image`, `source_digest`,\n" +
		"`created`, `title`, and `digest`; of a slot that was made of a signed image, `source_signed_by`. `build` adds `image` (what it was built from), `dir` and `tag`, `raw`, `pushed`; `files`, `layer_bytes`\n" +
		"(compressed), `file_bytes`, `ratio` (`image_bytes` to `file_bytes`), `duplicates` and `duplicate_bytes` (files whose content is kept\n" +
		"once), `unused_bytes` (content that no file names) and `layers_read_twice`; `wall_seconds`, and `cpu_seconds` unless several are\n" +
		"built at the same time. `lint --json`: see [lint.md](lint.md).\n\n## Exit codes\n\n| code | meaning |\n|---|---|\n")
	for _, e := range exitCodes {
		fmt.Fprintf(&b, "| %d | %s |\n", e.code, e.text)
	}
	b.WriteString("\n## Configuration\n\n" +
		"`/etc/abupdate/config.toml`, then `/etc/abupdate/config.d/*.toml` by name; a later file replaces the keys it names.\n\n" +
		"| key | meaning |\n|---|---|\n" +
		"| `image` | what `apply` takes when it is called without a reference |\n" +
		"| `insecure` | speak plain HTTP to registries |\n" +
		"| `[health] timeout`, `read_rate`, `no_read`, `[health.timeouts]` | how `health` examines the booted system: [health.md](health.md) |\n" +
		"| `[selector] without_variables` | as selector update's --without-variables: [kernels.md](kernels.md) |\n" +
		"| `spool_dir` | where a layer of a registry lies that must be read twice |\n" +
		"| `retry_for` | as --retry-for: `\"2h\"` |\n" +
		"| `limit_rate`, `low_speed` | as --limit-rate and --low-speed: `\"500K\"` |\n" +
		"| `[registries.\"HOST[:PORT]\"]` | what is special about one host, also of `https://` references; a drop-in replaces all of it |\n" +
		"| `ca` | there: PEM file of certificates to trust besides the system's |\n" +
		"| `mirrors` | there: list of `\"[http://]HOST[:PORT][/PATH]\"` to try in order before the host itself, which has the same repositories below PATH |\n" +
		"| `insecure` | there: speak plain HTTP to this host |\n\n" +
		"Proxies are taken from `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY`. Credentials come from `auth.json` beside `config.toml`, which\n" +
		"has the format of docker's `config.json` without helpers (keys may be HOST or HOST/PATH), then from what `docker login` and\n" +
		"`podman login` left. They are sent to no other host than theirs, also when a registry redirects.\n")
	return b.String()
}()
