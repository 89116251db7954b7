#!/usr/bin/env bash
# Runs every fuzz target PETRI_FUZZ_TIME (3000x: so many times), of the packages in
# $@ or of all. Go takes a duration too, as 10m, and then now and then reports its
# own deadline as the target's failure. What fails stays in testdata/fuzz, to be
# committed with what mends it.
# PETRI_FUZZ_GUIDED=1 lets coverage guide the search, which is what finds most
# in a long run; for that everything is compiled anew, which takes minutes.
. "$(dirname "$0")/lib.sh"
time=${PETRI_FUZZ_TIME:-3000x}
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT

# binary PACKAGE: its test binary, built as hack/unit.sh builds it.
binary() {
  local out=$place/${1//\//_}.test
  [ -e "$out" ] || go test -race -c -o "$out" "$1"
  echo "$out"
}

# fuzz PACKAGE TARGET. Minimizing what is interesting has no end of its own.
fuzz() {
  local limits=(-fuzztime "$time" -fuzzminimizetime 2s)
  if [ -n "${PETRI_FUZZ_GUIDED:-}" ]; then
    go test -run '^$' -fuzz "^$2\$" "${limits[@]}" "$1"
    return
  fi
  local program
  program=$(binary "$1")
  (cd "$1" && "$program" -test.run '^$' -test.fuzz "^$2\$" "${limits[@]/#-/-test.}" -test.fuzzcachedir "$place/cache" 2>&1 | grep -v 'coverage instrumentation')
}

ran=0
while IFS=: read -r file line; do
  package=./$(dirname "$file")
  target=${line#func }
  if [ "$#" -gt 0 ] && [[ " $* " != *" $package "* ]]; then
    continue
  fi
  echo "fuzz: $package $target" >&2
  fuzz "$package" "$target"
  ran=$((ran + 1))
done < <(git grep -oE '^func Fuzz[A-Za-z0-9_]+' -- '*_test.go')
[ "$ran" -gt 0 ] || { echo "fuzz: no target was found" >&2; exit 1; }
echo "fuzz: $ran targets ran, $time each" >&2
