package image

import (
	"bytes"
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// compression is how the bytes of a tar archive are packed.
type compression int

const (
	none compression = iota
	gzipped
	zstandard
	unknown // recognised, and not read
)

// headSize is how many of the first bytes of a file tell how it is packed.
const headSize = 6

var magics = []struct {
	head []byte
	kind compression
}{
	{[]byte{0x1f, 0x8b}, gzipped},
	{[]byte{0x28, 0xb5, 0x2f, 0xfd}, zstandard},
	{[]byte("BZh"), unknown},
	{[]byte{0xfd, '7', 'z', 'X', 'Z', 0}, unknown},
}

func compressionOf(head []byte) compression {
	for _, m := range magics {
		if bytes.HasPrefix(head, m.head) {
			return m.kind
		}
	}
	return none
}

// maxWindow bounds what a zstd archive may ask for in memory.
const maxWindow = 128 << 20

// decompress reads what r is packed as.
func decompress(r io.Reader, kind compression) (io.ReadCloser, error) {
	switch kind {
	case none:
		return io.NopCloser(r), nil
	case gzipped:
		return gzip.NewReader(r)
	case zstandard:
		d, err := zstd.NewReader(r, zstd.WithDecoderMaxWindow(maxWindow))
		if err != nil {
			return nil, err
		}
		return d.IOReadCloser(), nil
	}
	return nil, fmt.Errorf("it is compressed, but neither by gzip nor by zstd")
}
