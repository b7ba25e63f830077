package transfer

// For tests.
var (
	Split  = split
	Within = within
)

// LeastPart is for tests.
const LeastPart = leastPart
