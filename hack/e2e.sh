#!/usr/bin/env bash
# Runs the tests on real clusters, with a node image of this tree.
. "$(dirname "$0")/lib.sh"

# emulation lets this machine run programs for arm64, as building an image for
# it does. Only root can turn it on.
emulation() {
  [ -e /proc/sys/fs/binfmt_misc/qemu-aarch64 ] && return 0
  [ "$(id -u)" -eq 0 ] || return 0
  [ -e /proc/sys/fs/binfmt_misc/register ] || mount -t binfmt_misc binfmt_misc /proc/sys/fs/binfmt_misc
  update-binfmts --enable qemu-aarch64 >/dev/null
}

# instances lets as many nodes run as the tests make at once. Each takes some 14
# instances of inotify, and kernels allow 128; a node that gets none does not
# boot. Only root can raise it, until the next reboot.
instances() {
  local file=/proc/sys/fs/inotify/max_user_instances
  [ "$(cat "$file" 2>/dev/null || echo 512)" -ge 512 ] && return 0
  [ "$(id -u)" -eq 0 ] && echo 512 >"$file" 2>/dev/null && return 0
  echo "fs.inotify.max_user_instances is below 512: nodes beside each other may not boot" >&2
}

requirements
instances
need nftables nft
# an image for arm64 is built by the long tests alone: it compiles everything anew
if [[ "${PETRI_E2E_TAGS:-}" == *full* && "$(uname -s)-$(uname -m)" = Linux-x86_64 ]]; then
  need qemu-user-static qemu-aarch64-static
  need binfmt-support update-binfmts
  need arch-test arch-test # mmdebstrap asks it what this machine can run
  need gcc-aarch64-linux-gnu aarch64-linux-gnu-gcc
  install_missing
  emulation || echo "this machine does not emulate arm64" >&2
fi
install_missing
hack/build.sh
if [ -z "${PETRI_E2E_IMAGE:-}" ]; then
  petri build node-image >/dev/null
fi
# one package after the other: each counts what it runs at once for itself
go test -tags "${PETRI_E2E_TAGS:-e2e}" -count=1 -p 1 -timeout "${PETRI_E2E_TIMEOUT:-75m}" -parallel "${PETRI_E2E_PARALLEL:-2}" -v ./e2e/... ./pkg/provider/container/... ./images/... ./pkg/netguard/... ./node-image/boot/...
