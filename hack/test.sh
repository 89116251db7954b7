#!/usr/bin/env bash
# Runs every check and test, on real clusters too.
. "$(dirname "$0")/lib.sh"
requirements
hack/verify.sh
hack/unit.sh
hack/fuzz.sh
hack/verify-release.sh
hack/e2e.sh
