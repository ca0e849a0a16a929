#!/bin/sh
# Make the virtual environment .venv and install Zarkov with its development tools into it.
# Does nothing when pyproject.toml, constraints.txt and this script have not changed since the last time.
set -eu
cd "$(dirname "$0")/.."

install_debian() {
    echo "Installing $1" >&2
    as_root=""
    [ "$(id -u)" = 0 ] || as_root=sudo
    $as_root apt-get update -qq
    $as_root apt-get install -y -qq --no-install-recommends "$1"
}

if [ -n "${CI:-}" ] && [ "$(id -u)" = 0 ] && ! command -v ip >/dev/null && command -v apt-get >/dev/null; then
    # The test with two network namespaces needs `ip`, and may not be skipped in CI.
    install_debian iproute2
fi

stamp=.venv/installed
wanted=$(cat pyproject.toml constraints.txt scripts/setup.sh | cksum)
if [ -x .venv/bin/zcmd ] && [ "$(cat "$stamp" 2>/dev/null || true)" = "$wanted" ]; then
    exit 0
fi

python=${PYTHON:-python3}
if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
    echo "Zarkov needs Python 3.11 or newer; name one with PYTHON=/path/to/python3 make ..." >&2
    exit 1
fi
if ! "$python" -c 'import venv, ensurepip' 2>/dev/null; then
    # Debian keeps venv in a package of its own.
    install_debian python3-venv
fi
echo "Setting up .venv (about a minute the first time)" >&2
[ -x .venv/bin/python ] || "$python" -m venv .venv
.venv/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
echo "$wanted" > "$stamp"
