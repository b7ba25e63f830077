// Package faulttest runs the abupdate command on disk image files while
// everything that can go wrong on the way of an update goes wrong: the server,
// the line, the disk, the process itself. docs/faults.md tells what apply does
// then; its table names the tests of this package.
//
// Each test asserts the exit code and the message, that the running system and
// what boots next are as they were, and that the next apply, with all well
// again, finishes.
package faulttest
