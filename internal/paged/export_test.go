package paged

// SetMaxPages makes an arena's limit n pages, and returns what undoes it.
func SetMaxPages(n int) (undo func()) {
	old := maxPages
	maxPages = n
	return func() { maxPages = old }
}
