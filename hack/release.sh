#!/usr/bin/env bash
# Makes a release of the commit that is checked out, in dist/ or in $1: archives
# for each platform, bills of materials, checksums. PETRI_RELEASE_PLATFORMS
# says for which.
. "$(dirname "$0")/lib.sh"
out=${1:-dist}
commit=$(git rev-parse HEAD)
# the tag of this commit; between tags, a version that sorts before the next
version=$(git describe --tags --match 'v*' --dirty 2>/dev/null || echo "v0.0.0-0-g${commit:0:12}")
epoch=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
platforms=${PETRI_RELEASE_PLATFORMS:-linux/amd64,linux/arm64,darwin/amd64,darwin/arm64,windows/amd64,windows/arm64}
export GOFLAGS=
go mod verify >&2
node_helpers
go run ./hack/release -version "$version" -commit "$commit" -epoch "$epoch" -platforms "$platforms" -out "$out"
(cd "$out" && sha256sum --quiet --check checksums.txt)
echo "release $version is in $out" >&2
