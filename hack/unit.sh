#!/usr/bin/env bash
# Runs every test that needs no engine.
. "$(dirname "$0")/lib.sh"
go test -race -shuffle=on ./...
