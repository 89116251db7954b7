#!/usr/bin/env bash
# Checks form. Every check runs, and all that failed are named at the end.
. "$(dirname "$0")/lib.sh"
failed=()
check() {
  local name=$1
  shift
  echo "verify: $name" >&2
  "$@" || failed+=("$name")
}
formatted() {
  local files
  files=$(git ls-files '*.go' | xargs gofmt -l)
  [ -z "$files" ] || { echo "not formatted, run gofmt -w: $files" >&2; return 1; }
}
check gofmt formatted
check vet go vet ./...
check vet-e2e go vet -tags e2e ./...
check vet-e2e-full go vet -tags e2e,full ./e2e/...
# another system takes minutes to compile for: where time allows
[ -z "${PETRI_VERIFY_SYSTEMS:-}" ] || check darwin env GOOS=darwin GOARCH=arm64 CGO_ENABLED=0 go build -o /dev/null ./cmd/petri
check staticcheck go tool -modfile=hack/tools/go.mod staticcheck ./...
check modules go mod tidy -diff
check sums go mod verify
check vulnerabilities hack/vulnerabilities.sh
check generated hack/verify-generated.sh
command -v shellcheck >/dev/null 2>&1 && check shellcheck shellcheck -x -P SCRIPTDIR hack/*.sh .ci/run
if [ "${#failed[@]}" -gt 0 ]; then
  echo "verify failed: ${failed[*]}" >&2
  exit 1
fi
echo "verify: all passed" >&2
