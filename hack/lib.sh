# Sourced by the scripts of this folder: the place, and what is missing.
# shellcheck shell=bash
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export PATH="$PWD/bin:$PATH"
# clusters of a checkout must not depend on what a shell was left with
unset PETRI_CLUSTER_NAME

# missing are Debian packages that install_missing will install.
missing=()

# need PACKAGE PROGRAM: notes the Debian package of a program that is not there.
need() {
  command -v "$2" >/dev/null 2>&1 && return 0
  missing+=("$1")
}

# need_file PACKAGE FILE: the same for a header or a library.
need_file() {
  compgen -G "$2" >/dev/null && return 0
  missing+=("$1")
}

# install_missing installs what need found missing, or says what to install.
install_missing() {
  [ "${#missing[@]}" -eq 0 ] && return 0
  if ! command -v apt-get >/dev/null 2>&1; then
    echo "petri needs programs that are not installed. The Debian packages that hold them: ${missing[*]}" >&2
    echo "On another system install what provides: go 1.26, gcc, libseccomp (static, with headers), mmdebstrap, and a Docker engine." >&2
    exit 1
  fi
  local sudo=""
  [ "$(id -u)" -eq 0 ] || sudo="sudo"
  echo "installing Debian packages: ${missing[*]}" >&2
  $sudo apt-get update -qq
  DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
  missing=()
}

# requirements checks everything that building and running needs.
requirements() {
  if ! command -v go >/dev/null 2>&1; then
    echo "petri needs Go 1.26 or later: https://go.dev/doc/install" >&2
    exit 1
  fi
  if [ "$(uname -s)" = Linux ]; then
    need mmdebstrap mmdebstrap
    # without root, mmdebstrap works in a user namespace
    [ "$(id -u)" -eq 0 ] || need uidmap newuidmap
    need gcc gcc
    need pkg-config pkg-config
    need_file libseccomp-dev '/usr/lib/*/libseccomp.a'
    need_file libc6-dev '/usr/lib/*/libc.a'
  fi
  install_missing
}

# node_helpers builds the node helper for both architectures, which petri
# embeds. The same source and toolchain give the same bytes.
node_helpers() {
  mkdir -p bin
  local arch helper packed
  for arch in amd64 arm64; do
    helper=bin/petri-node-linux-$arch
    packed=pkg/nodehelper/programs/petri-node-linux-$arch.gz
    CGO_ENABLED=0 GOOS=linux GOARCH=$arch go build -trimpath -buildvcs=false -ldflags "-s -w -buildid=" -o "$helper" ./node-image/petri-node
    gzip --best --no-name --stdout "$helper" >"$packed.new"
    mv "$packed.new" "$packed"
  done
}
