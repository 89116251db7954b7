#!/usr/bin/env bash
# Says again what failed tests said, from the output of "go test -v" in a file: of
# tests that run beside each other it lies among what others said.
set -euo pipefail
awk '
  /^=== (RUN|NAME|CONT|PAUSE) / { test = $3; next }
  /^ *--- (PASS|FAIL|SKIP): / { if ($2 == "FAIL:") { failed[++n] = $3 } test = ""; next }
  /^(ok|PASS|FAIL|\?) ?/ { test = ""; next }
  test != "" { said[test] = said[test] $0 "\n" }
  END {
    for (i = 1; i <= n; i++) {
      text = said[failed[i]]
      if (length(text) > 6000) text = "[...]\n" substr(text, length(text) - 6000)
      printf "FAILED: %s\n%s", failed[i], text
    }
  }
' "$1"
