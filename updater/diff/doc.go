// Package diff compares what two images hold: files by path, packages by name,
// and what the images say of themselves. It works on values; package updater
// reads them out of images, updates and slots.
package diff
