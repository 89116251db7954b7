#!/usr/bin/env bash
# Makes the release for one platform twice, here and in a clone elsewhere, and
# fails unless both have the same bytes. PETRI_RELEASE_FRESH=1 compiles the
# second one without what the first has left in the build cache, which takes
# minutes.
. "$(dirname "$0")/lib.sh"
place=$(mktemp -d)
trap 'chmod -R u+w "$place"; rm -rf "$place"' EXIT
export PETRI_RELEASE_PLATFORMS=linux/amd64
# what is not committed would be in one of them only
git clone -q --no-hardlinks . "$place/one"
git clone -q --no-hardlinks . "$place/elsewhere/two"
(cd "$place/one" && hack/release.sh "$place/first")
[ -z "${PETRI_RELEASE_FRESH:-}" ] || export GOCACHE=$place/cache
(cd "$place/elsewhere/two" && umask 077 && TZ=Asia/Tokyo LC_ALL=C hack/release.sh "$place/second")
diff -r "$place/first" "$place/second"
tar -tzf "$place"/first/*.tar.gz | grep /THIRD-PARTY-LICENSES.txt >/dev/null
echo "release: two builds give the same bytes" >&2
