#!/usr/bin/env bash
# Says again what failed tests said, from the output of "go test" in a file: of tests
# that run beside each other it lies among what others said. What failed without a
# test is in the last lines.
set -euo pipefail
awk '
  /^=== (RUN|NAME|CONT|PAUSE) / { test = $3; next }
  /^ *--- (PASS|FAIL|SKIP): / {
    test = $3
    if ($2 == "FAIL:") failed[++n] = test
    next
  }
  /^(ok  |FAIL|\?   )\t/ || /^(PASS|FAIL)$/ { test = ""; next }
  test != "" { said[test] = said[test] $0 "\n" }
  END {
    for (i = 1; i <= n; i++) {
      text = said[failed[i]]
      if (length(text) > 6000) text = "[...]\n" substr(text, length(text) - 6000)
      printf "FAILED: %s\n%s", failed[i], text
    }
  }
' "$1"
if ! grep -qE -- '^ *--- FAIL: ' "$1"; then
  tail -n 40 "$1"
fi
