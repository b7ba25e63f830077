package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/abupdate/abupdate/initramfs/etc"
	"github.com/abupdate/abupdate/internal/fault"
	"github.com/abupdate/abupdate/updater"
)

// imageEtc is where a running system has the /etc of its image.
const imageEtc = "/run/abupdate/lower/etc"

func newEtc(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "etc",
		GroupID: groupDevice,
		Short:   "What this device changed in /etc",
		Long: `An image whose /usr/lib/abupdate/config.d/*.toml says

    etc = "persist"

keeps what a device changes in /etc, on /var. Only files that differ from those
they replaced are kept: all others follow the image. A file that both the device
and a later image changed is a conflict: the device's version stays until somebody
decides. By default a reboot forgets changes.`,
		Args: exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newEtcDiff(a), newEtcAccept(), newEtcRevert())
	return cmd
}

// etcDir adds the flag that names another folder than the system's.
func etcDir(cmd *cobra.Command) *string {
	return cmd.Flags().String("dir", "/var"+etc.Dir, "`DIR` that holds the changes")
}

// openEtc fails on a system that keeps no changes.
func openEtc(dir string) (etc.Store, error) {
	if _, err := os.Stat(filepath.Join(dir, "upper")); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return etc.Store{}, fault.Errorf(fault.Usage, "this system keeps no changes in /etc: there is no %s", dir)
		}
		return etc.Store{}, fmt.Errorf("opening the changes in /etc: %w", err)
	}
	return etc.Store{Path: dir}, nil
}

// needRoot adds to an error what would help.
func needRoot(err error) error {
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("%w (root is needed)", err)
	}
	return err
}

func newEtcDiff(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "diff",
		Short:   "List changed, added and removed files, and conflicts",
		Long:    "Lists what this device has otherwise than its image. The image's own files are in\n" + imageEtc + ".",
		Example: lines("abupdate etc diff", "abupdate etc diff --json"),
		Args:    exactly(),
	}
	dir := etcDir(cmd)
	cmd.RunE = func(*cobra.Command, []string) error {
		store, err := openEtc(*dir)
		if err != nil {
			return err
		}
		list, err := store.List()
		if err != nil {
			return needRoot(err)
		}
		return a.print(map[string]any{"changes": list}, func(w io.Writer) {
			if len(list) == 0 {
				fmt.Fprintln(w, "nothing is changed")
			}
			for _, l := range list {
				fmt.Fprintf(w, "%s\t/etc/%s", l.Change, l.Path)
				if l.Conflict {
					fmt.Fprint(w, "\tconflict: the image changed it too")
				}
				fmt.Fprintln(w)
			}
		})
	}
	return cmd
}

func newEtcAccept() *cobra.Command {
	return etcOrder("accept PATH...", "End conflicts: the device's version stays",
		"Takes the image's present version of the files, or of all in a folder, for seen. A\nconflict comes again when a later image changes them once more.", etc.Store.Accept)
}

func newEtcRevert() *cobra.Command {
	return etcOrder("revert PATH...", "Give changes up: from the next boot on the image's files show",
		"Gives the changes of files, or of whole folders, up. This happens at the next boot.", etc.Store.Revert)
}

func etcOrder(use, short, long string, do func(s etc.Store, paths ...string) error) *cobra.Command {
	name, _, _ := strings.Cut(use, " ")
	cmd := &cobra.Command{
		Use: use, Short: short, Long: long, Args: atLeast("PATH"),
		Example: lines("abupdate etc " + name + " /etc/ssh/sshd_config"),
	}
	dir := etcDir(cmd)
	cmd.RunE = func(_ *cobra.Command, args []string) error {
		store, err := openEtc(*dir)
		if err != nil {
			return err
		}
		for i, arg := range args {
			rel := filepath.Clean(strings.TrimPrefix(arg, "/etc/"))
			if rel == "." || !filepath.IsLocal(rel) {
				return fault.Errorf(fault.Usage, "%s is not a path in /etc", arg)
			}
			args[i] = rel
		}
		unlock, err := updater.Lock(filepath.Join(store.Path, "lock"))
		if err != nil {
			return err
		}
		defer unlock()
		err = do(store, args...)
		if errors.Is(err, etc.ErrNoChange) {
			return fault.Errorf(fault.Usage, "/etc/%w", err)
		}
		return needRoot(err)
	}
	return cmd
}
