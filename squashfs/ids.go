package squashfs

import "errors"

// ids is the table of user and group numbers; inodes hold places in it.
type ids struct {
	numbers []uint32
	place   map[uint32]uint16
}

func (t *ids) both(uid, gid uint32) (u, g uint16, err error) {
	if u, err = t.add(uid); err != nil {
		return 0, 0, err
	}
	g, err = t.add(gid)
	return u, g, err
}

func (t *ids) add(id uint32) (uint16, error) {
	if i, ok := t.place[id]; ok {
		return i, nil
	}
	if len(t.numbers) == 1<<16-1 {
		return 0, errors.New("more than 65535 different user and group numbers")
	}
	if t.place == nil {
		t.place = make(map[uint32]uint16)
	}
	i := uint16(len(t.numbers))
	t.numbers = append(t.numbers, id)
	t.place[id] = i
	return i, nil
}

// write writes the numbers by place.
func (t *ids) write(m *metadataWriter) error {
	for _, id := range t.numbers {
		if err := m.write(le.AppendUint32(nil, id)); err != nil {
			return err
		}
	}
	return nil
}
