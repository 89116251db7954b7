#!/usr/bin/env bash
# Writes generated files anew.
. "$(dirname "$0")/lib.sh"
go run ./cmd/gendocs
