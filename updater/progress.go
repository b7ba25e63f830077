package updater

// A Step names a part of an operation in progress events.
type Step string

// The steps, in the order in which an Apply goes through them.
const (
	StepResolve  Step = "resolve"   // asking for the image
	StepFetch    Step = "fetch"     // reading and checking the layers
	StepCompare  Step = "compare"   // looking for blocks that are in the slot already
	StepWrite    Step = "write"     // writing the image
	StepReadBack Step = "read back" // reading the slot past the page cache
	StepCommit   Step = "commit"    // manifest, footer, boot state
	StepCopy     Step = "copy"      // copying a slot into another
	StepVerify   Step = "verify"    // reading a slot against its hash tree
)

// An Event is a moment of a running operation.
type Event struct {
	Image string `json:"image,omitempty"` // of several, the one that it is about
	Step  Step   `json:"step"`
	Done  int64  `json:"done"`            // bytes
	Total int64  `json:"total,omitempty"` // bytes; 0 when nobody knows
	// Copied of the bytes Done were on this device already, in a slot or in
	// what an interrupted Apply left; Fetched came over the line, which may be
	// more than was used of it. Both are sums since the step began.
	Copied  int64 `json:"copied,omitempty"`
	Fetched int64 `json:"fetched,omitempty"`
	// ToFetch is how much of Total is known to come over the line in all; 0
	// when nobody knows.
	ToFetch int64 `json:"to_fetch,omitempty"`
	// Note is for people who pay for the line; an event that has one tells
	// nothing else.
	Note string `json:"note,omitempty"`
}

// Progress is told about a running operation, from one goroutine at a time. It
// may be nil.
type Progress func(Event)

// Report calls p unless it is nil.
func (p Progress) Report(step Step, done, total int64) {
	p.Tell(Event{Step: step, Done: done, Total: total})
}

// Tell calls p with all that is known, unless p is nil.
func (p Progress) Tell(e Event) {
	if p != nil {
		p(e)
	}
}
