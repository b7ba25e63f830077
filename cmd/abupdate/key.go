package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/abupdate/abupdate/internal/durable"
	"github.com/abupdate/abupdate/internal/fault"
	"github.com/abupdate/abupdate/oci"
	"github.com/abupdate/abupdate/updater"
	"github.com/abupdate/abupdate/updater/trust"
	"github.com/abupdate/abupdate/updater/trust/keys"
)

func newKey(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "key",
		GroupID: groupBuild,
		Short:   "Make keys that sign updates",
		Long: `Keys are ECDSA P-256 or Ed25519, in files that cosign reads too: PREFIX.key is PKCS#8
in PEM, encrypted as cosign does when there is a password, PREFIX.pub is what devices
trust. docs/threat-model.md says what signatures protect, and how keys are replaced.`,
		Args: exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newKeyGenerate(a), newKeyPublic(a), newKeyEndorse(a))
	return cmd
}

func newKeyGenerate(a *app) *cobra.Command {
	var algorithm, prefix string
	var encrypt bool
	cmd := &cobra.Command{
		Use:   "generate",
		Short: "Make a key pair",
		Long: `Writes PREFIX.key (mode 0600) and PREFIX.pub; files that are there are not replaced.
The private key is encrypted when ` + keys.PasswordVariable + ` is set, or with --encrypt, which
asks for a password.`,
		Example: lines("abupdate key generate -o vendor", keys.PasswordVariable+"=... abupdate key generate --type ed25519 -o vendor"),
		Args:    exactly(),
		RunE: func(*cobra.Command, []string) error {
			password, err := newPassword(a.stderr, encrypt)
			if err != nil {
				return err
			}
			k, err := keys.Generate(keys.Algorithm(algorithm))
			if err != nil {
				return err
			}
			if err := writeKeys(k, prefix, password); err != nil {
				return err
			}
			made := map[string]any{"key": prefix + ".key", "public": prefix + trust.KeySuffix, "id": k.Public().ID, "encrypted": password != nil}
			return a.print(made, func(w io.Writer) {
				fmt.Fprintf(w, "private key\t%s.key\n", prefix)
				fmt.Fprintf(w, "public key\t%s%s\n", prefix, trust.KeySuffix)
				fmt.Fprintf(w, "id\t%s\n", k.Public().ID)
				if password == nil {
					fmt.Fprintf(w, "encrypted\tno: set %s, or give --encrypt\n", keys.PasswordVariable)
				}
			})
		},
	}
	cmd.Flags().StringVar(&algorithm, "type", string(keys.P256), "`TYPE`: "+string(keys.P256)+", which every cosign knows, or "+string(keys.Ed25519))
	cmd.Flags().StringVarP(&prefix, "output", "o", "abupdate", "`PREFIX` of the files to make")
	cmd.Flags().BoolVar(&encrypt, "encrypt", false, "ask for a password")
	return cmd
}

// writeKeys makes both files or none.
func writeKeys(k *keys.Private, prefix string, password []byte) error {
	private, err := k.PEM(password)
	if err != nil {
		return err
	}
	public, err := k.PublicPEM()
	if err != nil {
		return err
	}
	if err := writeNew(prefix+".key", private, 0o600); err != nil {
		return err
	}
	if err := writeNew(prefix+trust.KeySuffix, public, 0o644); err != nil {
		return errors.Join(err, os.Remove(prefix+".key"))
	}
	return nil
}

// writeNew makes a file that is not there yet, and makes it last.
func writeNew(name string, b []byte, mode os.FileMode) error {
	err := durable.Create(name, b, mode)
	var failed *fs.PathError
	switch {
	case errors.Is(err, fs.ErrExist):
		return fault.Errorf(fault.Usage, "writing %s: it is there already", name)
	case errors.As(err, &failed) && failed.Op == "open":
		return fault.Errorf(fault.Usage, "writing a key file: %w", err)
	case err != nil:
		return err
	}
	return durable.SyncDir(filepath.Dir(name))
}

func newKeyPublic(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "public KEY",
		Short:   "Print the public half of a private key",
		Long:    "Prints the public key in PEM. The password of an encrypted key is in " + keys.PasswordVariable + ", or asked for.",
		Example: lines("abupdate key public vendor.key > trust.d/vendor.pub"),
		Args:    exactly("KEY"),
		RunE: func(_ *cobra.Command, args []string) error {
			k, err := readKey(a.stderr, args[0])
			if err != nil {
				return err
			}
			text, err := k.PublicPEM()
			if err != nil {
				return err
			}
			return a.print(map[string]string{"id": k.Public().ID, "public": string(text)}, func(w io.Writer) { w.Write(text) })
		},
	}
}

func newKeyEndorse(a *app) *cobra.Command {
	var sign keyFlags
	var output string
	cmd := &cobra.Command{
		Use:   "endorse PUB... --sign-key OLD -o FILE" + trust.ListSuffix,
		Short: "Let an old key bring new ones",
		Long: `Writes a list of public keys, signed by a key that devices trust already. In a
folder of trusted keys beside the old key (a system image brings it to
/usr/lib/abupdate/trust.d, say) it makes the new keys trusted; an apply copies it
into the slot, so that an initramfs with the old key starts what the new one signed.`,
		Example: lines("abupdate key endorse new.pub --sign-key old.key -o new" + trust.ListSuffix),
		Args:    atLeast("PUB"),
		RunE: func(_ *cobra.Command, args []string) error {
			with, err := sign.read(a.stderr)
			if err != nil {
				return err
			}
			if len(with) != 1 || output == "" {
				return fault.Errorf(fault.Usage, "abupdate key endorse: one --sign-key and -o FILE%s are needed", trust.ListSuffix)
			}
			var pem []byte
			for _, name := range args {
				text, err := os.ReadFile(name)
				if err != nil {
					return fault.Errorf(fault.Usage, "reading a public key: %w", err)
				}
				pem = append(pem, text...)
			}
			list, err := with[0].SignList(pem)
			if err != nil {
				return fault.Wrap(fault.Usage, err)
			}
			if err := writeNew(output, list, 0o644); err != nil {
				return err
			}
			return a.print(map[string]string{"list": output, "signed_by": with[0].Public().ID}, func(w io.Writer) {
				fmt.Fprintf(w, "key list\t%s\nsigned by\t%v\n", output, with[0].Public())
			})
		},
	}
	sign.add(cmd.Flags())
	cmd.Flags().StringVarP(&output, "output", "o", "", "`FILE"+trust.ListSuffix+"` to make")
	return cmd
}

func newSign(a *app) *cobra.Command {
	var source sourceFlags
	var sign keyFlags
	cmd := &cobra.Command{
		Use:     "sign REF --sign-key KEY",
		GroupID: groupBuild,
		Short:   "Sign an image or update where it lies",
		Long: `Signs the manifest of an image or update in a registry or an OCI layout as cosign
does with a key pair, and puts the signature beside it. A key that has signed it
already does not do so again.

` + imageRefs,
		Example: lines("abupdate sign registry.example/os-update:12.8 --sign-key vendor.key"),
		Args:    exactly("REF"),
		RunE: func(cmd *cobra.Command, args []string) error {
			with, err := sign.read(a.stderr)
			if err != nil {
				return err
			}
			if len(with) == 0 {
				return fault.Errorf(fault.Usage, "abupdate sign: no --sign-key given")
			}
			opt, err := source.options()
			if err != nil {
				return err
			}
			ref, err := oci.ParseReference(args[0])
			if err != nil {
				return err
			}
			digest, err := updater.Sign(cmd.Context(), ref.String(), with, opt.Registry)
			if err != nil {
				return err
			}
			return a.print(map[string]string{"digest": digest}, func(w io.Writer) { fmt.Fprintf(w, "signed\t%s\n", digest) })
		},
	}
	sign.add(cmd.Flags())
	source.registry(cmd.Flags())
	return cmd
}
