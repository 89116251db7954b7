//go:build !linux

package engine

import "errors"

// namespace is for Linux only: elsewhere engines run in a machine of their own.
type namespace struct{}

func newNamespace() (*namespace, error) {
	return nil, errors.New("network namespaces are for Linux only")
}

func (n *namespace) do(func()) error { return errors.New("network namespaces are for Linux only") }

func (n *namespace) close() error { return nil }
