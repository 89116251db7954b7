package kube

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	corev1 "k8s.io/api/core/v1"
)

// storedWindow is more than the largest object that an API server takes.
const storedWindow = 4 << 20

// storedMagic begins every object as API servers store it.
var storedMagic = []byte("k8s\x00")

// Stored finds Secrets in the files of etcd, of its database and of its log
// alike, and tells secret every value that is one; and config, each
// configuration that the cluster was made from. It needs no etcd: an object is
// there in one piece, also one that was changed or deleted since. Objects that
// are encrypted are not found.
func Stored(files io.Reader, secret func(value string), config func(data []byte)) error {
	for in := bufio.NewReaderSize(files, storedWindow); ; {
		window, err := in.Peek(storedWindow)
		if err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("read the files of etcd: %w", err)
		}
		next := bytes.Index(window, storedMagic)
		switch {
		case next < 0 && err != nil:
			return nil
		case next < 0:
			next = len(window) - len(storedMagic) + 1 // it may begin there
		case next == 0:
			stored(window[len(storedMagic):], secret, config)
			next = len(storedMagic)
		}
		_, _ = in.Discard(next) // of what was peeked at
	}
}

// stored tells of one object. What is torn or of another form is left out.
func stored(data []byte, secret func(string), config func([]byte)) {
	kind, raw := storedObject(data)
	switch kind {
	case "Secret":
		var s corev1.Secret
		if s.Unmarshal(raw) != nil {
			return
		}
		for key, value := range s.Data {
			if isSecret(string(s.Type), key, string(value)) {
				secret(string(value))
			}
		}
	case "ConfigMap":
		var c corev1.ConfigMap
		if c.Unmarshal(raw) == nil && c.Name == ConfigMapName {
			config([]byte(c.Data[ConfigMapKey]))
		}
	}
}

// storedObject is the kind of an object of the core API, and its content: the
// first two fields of runtime.Unknown.
func storedObject(data []byte) (kind string, raw []byte) {
	for _, kind := range []string{"Secret", "ConfigMap"} {
		meta := "\x0a\x02v1\x12" + string(rune(len(kind))) + kind
		if rest, ok := bytes.CutPrefix(data, []byte("\x0a"+string(rune(len(meta)))+meta+"\x12")); ok {
			size, n := binary.Uvarint(rest)
			if n <= 0 || size > uint64(len(rest)-n) {
				return "", nil
			}
			return kind, rest[n : n+int(size)]
		}
	}
	return "", nil
}
