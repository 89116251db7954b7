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
  code=0
  petri get image -o name >/dev/null 2>&1 || code=$?
  if [ "$code" -eq 3 ]; then # not found
    echo "building the node image: about ten minutes the first time" >&2
    petri build node-image >/dev/null
  fi
  petri create cluster --name petri
fi
petri status --name petri
