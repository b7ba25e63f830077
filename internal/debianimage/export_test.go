package debianimage

// What the tests of the package's parts use.
var (
	SourceLines      = sourceLines
	Pockets          = pockets
	TransportOptions = transportOptions
	Mirror           = mirror
	WriteDiff        = writeDiff
	TopLayer         = topLayer
	ReadMeta         = readMeta
)

type (
	Meta    = meta
	Version = version
)

// NewVersion makes a Version.
func NewVersion(number, what string, broken bool) Version { return version{number, what, broken} }
