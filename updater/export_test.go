package updater

// SelectorAt is the selector of Status, for a root that is not the machine's.
func (s *System) SelectorAt(root string) Selector {
	sel := s.selector("")
	sel.complete(s, root)
	return sel
}
