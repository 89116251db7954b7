//go:build linux

package main

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", path, diff)
	}
}

func TestSyncConflistLeavesOneFile(t *testing.T) {
	a := newAgent(t, &fakeKernel{mtu: 1500})
	own := memberOf(node("a", "172.18.0.2", "10.244.0.0/24"))
	if err := os.WriteFile(a.conflist, []byte("of an earlier life"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := a.syncConflist(own); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(filepath.Dir(a.conflist))
	if err != nil || len(entries) != 1 {
		t.Errorf("files %v, error %v; want the configuration alone", entries, err)
	}
	first, err := os.ReadFile(a.conflist)
	if err != nil || !bytes.Contains(first, []byte("10.244.0.0/24")) {
		t.Errorf("configuration %q, error %v", first, err)
	}
	if info, err := os.Stat(a.conflist); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, error %v", info, err)
	}
}

func TestSyncConflistDoesNotRewrite(t *testing.T) {
	a := newAgent(t, &fakeKernel{mtu: 1500})
	own := memberOf(node("a", "172.18.0.2", "10.244.0.0/24"))
	var info [2]os.FileInfo
	for i := range info {
		if err := a.syncConflist(own); err != nil {
			t.Fatal(err)
		}
		var err error
		if info[i], err = os.Stat(a.conflist); err != nil {
			t.Fatal(err)
		}
	}
	if !os.SameFile(info[0], info[1]) {
		t.Error("a configuration that was right was replaced; containerd reads it anew each time")
	}
}
