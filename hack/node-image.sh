#!/usr/bin/env bash
# Builds the node image from this tree, with what building takes.
. "$(dirname "$0")/lib.sh"
requirements
hack/build.sh
petri build node-image "$@"
