#!/usr/bin/env bash
# Builds bin/petri, with the node helper for images that are not petri's in it.
. "$(dirname "$0")/lib.sh"
node_helpers
CGO_ENABLED=0 go build -trimpath -ldflags "-s -w" -o bin/petri ./cmd/petri
