#!/usr/bin/env bash
# Makes a cluster named "petri" on a machine that has Go and Docker.
. "$(dirname "$0")/lib.sh"
requirements
echo "building bin/petri" >&2
hack/build.sh
clusters=$(petri get clusters -o name)
if grep -qx petri <<<"$clusters"; then
  echo "The cluster \"petri\" is there already." >&2
else
  # of this tree: what was built before is used again, and takes seconds
  echo "building the node image: about ten minutes the first time" >&2
  petri build node-image >/dev/null
  petri create cluster --name petri
fi
petri status --name petri
