package kubeadm

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestUpgrade(t *testing.T) {
	document, err := Upgrade(UpgradeInput{Version: "v1.36.4-1+0123456789abcd", IgnorePreflight: []string{"Swap"}, PatchesDir: "/petri/patches", Patience: 90 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	want := `apiVersion: kubeadm.k8s.io/v1beta4
apply:
  allowExperimentalUpgrades: true
  ignorePreflightErrors:
  - Swap
  - CreateJob
  kubernetesVersion: v1.36.4-1+0123456789abcd
  patches:
    directory: /petri/patches
kind: UpgradeConfiguration
node:
  ignorePreflightErrors:
  - Swap
  patches:
    directory: /petri/patches
plan:
  allowExperimentalUpgrades: true
  ignorePreflightErrors:
  - Swap
  - CreateJob
  kubernetesVersion: v1.36.4-1+0123456789abcd
timeouts:
  upgradeManifests: 1m30s
`
	if diff := cmp.Diff(want, string(document)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if _, err := Upgrade(UpgradeInput{Version: "latest"}); err == nil {
		t.Error("no version: no error")
	}
}

// The directory is found in what Render makes, also when the user gave another.
func TestPatchesDir(t *testing.T) {
	documents, err := Render(input(cluster(0), 0))
	if err != nil {
		t.Fatal(err)
	}
	if dir := PatchesDir(documents); dir != "/petri/patches" {
		t.Errorf("%q", dir)
	}
	if dir := PatchesDir([]byte("kind: ClusterConfiguration\n---\nkind: KubeletConfiguration\n")); dir != "" {
		t.Errorf("%q of documents that name none", dir)
	}
}
