//go:build linux

package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/petri-cluster/petri/pkg/podnet"
)

// syncConflist writes the configuration once this node's range of pods is
// known, and again when it is not what it should be.
func (a *agent) syncConflist(own member) error {
	if len(own.pods) == 0 {
		return nil
	}
	mtu, err := a.kernel.MTU()
	if err != nil {
		return fmt.Errorf("find the MTU: %w", err)
	}
	want, err := podnet.Conflist(own.pods, mtu)
	if err != nil {
		return fmt.Errorf("render CNI configuration: %w", err)
	}
	have, err := os.ReadFile(a.conflist)
	if err == nil && bytes.Equal(have, want) {
		return nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("read CNI configuration: %w", err)
	}
	if err := replaceFile(a.conflist, want); err != nil {
		return fmt.Errorf("write CNI configuration: %w", err)
	}
	a.log.Info("CNI configuration written", "path", a.conflist, "pods", own.pods, "mtu", mtu)
	return nil
}

// replaceFile writes beside path and renames. The name it writes to ends in
// nothing that CNI reads, so that nobody sees half a file.
func replaceFile(path string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".petri-*.tmp")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // gone already when all went well
	_, err = f.Write(data)
	err = errors.Join(err, f.Chmod(0o600), f.Close())
	if err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
