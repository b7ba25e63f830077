package main

import (
	"bytes"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/term"

	"github.com/abupdate/abupdate/internal/fault"
	"github.com/abupdate/abupdate/updater"
	"github.com/abupdate/abupdate/updater/trust/keys"
)

// trustFlag adds --trust, of commands that check signatures.
func trustFlag(cmd *cobra.Command, p *[]string) {
	cmd.Flags().StringArrayVar(p, "trust", nil, "`PUB` file or folder of public keys to check signatures with; may be repeated (of the booted disk also: /usr/lib/abupdate/trust.d and /etc/abupdate/trust.d)")
}

// printSignatures tells what is known of something's signatures.
func printSignatures(w io.Writer, what string, st updater.SignatureStatus) {
	switch {
	case st.SignedBy != "":
		fmt.Fprintf(w, "%s\t%d, signed by %s\n", what, st.Signatures, st.SignedBy)
	case st.Signatures == 0:
		fmt.Fprintf(w, "%s\tnone\n", what)
	case st.SignatureProblem != "":
		fmt.Fprintf(w, "%s\t%d, %s\n", what, st.Signatures, st.SignatureProblem)
	default:
		fmt.Fprintf(w, "%s\t%d, not checked: no keys are known (--trust)\n", what, st.Signatures)
	}
}

// keyFlags are those of commands that sign.
type keyFlags struct{ files []string }

func (f *keyFlags) add(fs *pflag.FlagSet) {
	fs.StringArrayVar(&f.files, "sign-key", nil, "private `KEY` file to sign with; may be repeated (password in "+keys.PasswordVariable+")")
}

// read reads the keys; prompts go to w.
func (f *keyFlags) read(w io.Writer) ([]*keys.Private, error) {
	var all []*keys.Private
	for _, name := range f.files {
		k, err := readKey(w, name)
		if err != nil {
			return nil, err
		}
		all = append(all, k)
	}
	return all, nil
}

func readKey(w io.Writer, name string) (*keys.Private, error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, fault.Errorf(fault.Usage, "reading private key: %w", err)
	}
	return keys.Parse(name, text, func() ([]byte, bool) {
		if p, ok := os.LookupEnv(keys.PasswordVariable); ok {
			return []byte(p), true
		}
		p, err := ask(w, "password of "+name)
		return p, err == nil
	})
}

// newPassword is the password for a new key, nil for none.
func newPassword(w io.Writer, encrypt bool) ([]byte, error) {
	if p, ok := os.LookupEnv(keys.PasswordVariable); ok {
		return []byte(p), nil
	}
	if !encrypt {
		return nil, nil
	}
	p, err := ask(w, "password for the new key")
	if err != nil {
		return nil, err
	}
	again, err := ask(w, "the same again")
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(p, again) {
		return nil, fault.Errorf(fault.Usage, "the passwords differ")
	}
	return p, nil
}

func ask(w io.Writer, what string) ([]byte, error) {
	fd := int(os.Stdin.Fd())
	if !term.IsTerminal(fd) {
		return nil, fault.Errorf(fault.Usage, "no terminal to ask for the %s: set %s", what, keys.PasswordVariable)
	}
	fmt.Fprintf(w, "%s: ", what)
	p, err := term.ReadPassword(fd)
	fmt.Fprintln(w)
	return p, err
}
