#!/usr/bin/env bash
# Fails when a generated file is not what its source makes.
. "$(dirname "$0")/lib.sh"
go run ./cmd/gendocs -check
