package blockdev

import (
	"io"
	"sync"
)

// Memory is a Device in memory, safe for concurrent use.
type Memory struct {
	mu   sync.RWMutex
	data []byte
}

// NewMemory returns a Device over data, which it owns from then on.
func NewMemory(data []byte) *Memory { return &Memory{data: data} }

// Size implements Device.
func (m *Memory) Size() int64 { return int64(len(m.data)) }

// Sync implements Device; memory has nothing to sync.
func (m *Memory) Sync() error { return nil }

// ReadAt implements io.ReaderAt.
func (m *Memory) ReadAt(p []byte, off int64) (int, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if off < 0 {
		return 0, CheckBounds(off, int64(len(p)), m.Size())
	}
	if off >= m.Size() {
		return 0, io.EOF
	}
	n := copy(p, m.data[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// WriteAt implements io.WriterAt; a write past the end writes nothing.
func (m *Memory) WriteAt(p []byte, off int64) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := CheckBounds(off, int64(len(p)), m.Size()); err != nil {
		return 0, err
	}
	return copy(m.data[off:], p), nil
}

// Bytes returns a copy of the content.
func (m *Memory) Bytes() []byte {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return append([]byte(nil), m.data...)
}
