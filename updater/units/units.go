// Package units holds what an image starts on a device, to be put where its
// init system looks.
package units

import _ "embed"

// MarkGoodService is the systemd unit that confirms the booted slot.
//
//go:embed abupdate-mark-good.service
var MarkGoodService []byte

// WatchdogService is the systemd unit that takes over the watchdog.
//
//go:embed abupdate-watchdog.service
var WatchdogService []byte
