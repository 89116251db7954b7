#!/usr/bin/env bash
# Removes bin/ and every cluster of petri.
. "$(dirname "$0")/lib.sh"
[ -x bin/petri ] && petri delete clusters --all
rm -rf bin
