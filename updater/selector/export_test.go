package selector

// For tests of what firmware reads.
var (
	Encode = func(e Entry, esp ESP) ([]byte, error) { return e.encode(esp) }
	Decode = func(e *Entry, b []byte, esp ESP) error { return e.decode(b, esp) }
)
