package oci

// An origin is where an entry stands: layer and ordinal.
type origin uint64

func (o origin) layer() int      { return int(o >> 32) }
func (o origin) ordinal() uint32 { return uint32(o) }

func newOrigin(layer int, ordinal uint32) origin { return origin(layer)<<32 | origin(ordinal) }

const originsPage = 4096

// origins holds the origin of each object, in pages: what grows is not copied.
type origins []*[originsPage]origin

func (o *origins) set(object uint32, layer int, ordinal uint32) {
	for uint32(len(*o)) <= object/originsPage {
		*o = append(*o, nil)
	}
	page := &(*o)[object/originsPage]
	if *page == nil {
		*page = new([originsPage]origin)
	}
	(*page)[object%originsPage] = newOrigin(layer, ordinal)
}

func (o origins) of(object uint32) origin {
	return o[object/originsPage][object%originsPage]
}
