package debianimage

import (
	"context"
	"fmt"
	"os"
	"strings"
)

// Within unpacks the root in a tar, installs more packages into it and runs a
// script in it, in a shell; what the script leaves in the root's folder /out
// comes into the folder dir, which must be there. The root is thrown away.
func Within(ctx context.Context, root, dir string, names []string, script string, opt Options) error {
	suite := opt.Suite
	if suite == "" {
		var err error
		if suite, err = hostSuite(); err != nil {
			return err
		}
	}
	m, err := newMaker(ctx, suite, opt)
	if err != nil {
		return fmt.Errorf("working in a root: %w", err)
	}
	defer os.RemoveAll(m.dir)
	if err := os.WriteFile(m.file("script"), []byte("set -e\nmkdir -p /out\n"+script), 0o644); err != nil {
		return fmt.Errorf("working in a root: %w", err)
	}
	args := append(wholeArgs(m.dir), "--variant=custom", "--include="+strings.Join(names, ","),
		"--setup-hook=tar-in "+root+" /",
		"--customize-hook=upload "+m.file("script")+" /script", `--customize-hook=chroot "$1" sh /script`,
		"--customize-hook=sync-out /out "+dir, "--format=null")
	if err := m.mmdebstrap(ctx, "nothing", args); err != nil {
		return fmt.Errorf("working in a root: %w", err)
	}
	return nil
}
