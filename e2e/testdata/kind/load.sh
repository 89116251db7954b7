#!/usr/bin/env bash
# Load an image into the cluster, run it, load its next version, and roll out.
set -euo pipefail
kind create cluster --name "$CLUSTER" --image "$NODE_IMAGE" --wait 120s
docker tag "$REGISTRY_IMAGE" app:1
kind load docker-image app:1 --name "$CLUSTER"
kubectl create deployment app --image=app:1
kubectl rollout status deployment/app --timeout=90s | tail -n 1
docker tag "$REGISTRY_IMAGE" app:2
docker save --output images.tar app:2
kind load image-archive images.tar --name "$CLUSTER" --nodes "$CLUSTER-control-plane"
kubectl set image deployment/app '*=app:2'
kubectl rollout status deployment/app --timeout=90s | tail -n 1
kubectl get deployment app -o jsonpath='{.status.readyReplicas} {.spec.template.spec.containers[0].image}{"\n"}'
if kind load docker-image missing:1 --name "$CLUSTER" 2>message; then echo "loaded what is missing"; fi
grep -o 'not present locally' message
kind delete cluster --name "$CLUSTER"
