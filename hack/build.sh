#!/usr/bin/env bash
# Builds bin/petri, with the node helper for images that are not petri's in it.
. "$(dirname "$0")/lib.sh"
mkdir -p bin
export CGO_ENABLED=0
for arch in amd64 arm64; do
  helper=bin/petri-node-linux-$arch
  GOOS=linux GOARCH=$arch go build -trimpath -ldflags "-s -w" -o "$helper" ./node-image/petri-node
  gzip --best --no-name --stdout "$helper" >"pkg/nodehelper/programs/petri-node-linux-$arch.gz.new"
  mv "pkg/nodehelper/programs/petri-node-linux-$arch.gz.new" "pkg/nodehelper/programs/petri-node-linux-$arch.gz"
done
go build -trimpath -ldflags "-s -w" -o bin/petri ./cmd/petri
