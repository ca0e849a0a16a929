#!/bin/sh
# Install the servers that Zarkov is measured beside (Debian 12, as root) and the virtual
# environment of their clients, $PEERS_DIR/v. They are never started as services: each
# measurement starts its own on an empty folder and stops it.  What is there already is kept, and
# what cannot be installed is only said: the report names it where its figure would stand.
# peers/setup_peers.sh installs every peer of peers/; this is the part that `make bench` uses.
set -eu
PEERS_DIR=${PEERS_DIR:-${TMPDIR:-/tmp}/peers}
missing=
command -v redis-server >/dev/null || missing="$missing redis-server"
[ -x /usr/sbin/rabbitmq-server ] || missing="$missing rabbitmq-server"
ls /usr/lib/postgresql/*/bin/postgres >/dev/null 2>&1 || missing="$missing postgresql-15"

install_servers() {
    # A package's own script would start its server and take the memory and the cores of the
    # measurements; Debian asks this file whether it may.
    policy=/usr/sbin/policy-rc.d
    if [ ! -e "$policy" ]; then
        printf '#!/bin/sh\nexit 101\n' > "$policy"
        chmod 755 "$policy"
        trap 'rm -f "$policy"' EXIT
    fi
    apt-get update -q || return 1
    # shellcheck disable=SC2086
    DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $missing
}

if [ -n "$missing" ]; then
    if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
        echo "Not installed:$missing. To measure beside them, run as root on Debian 12: benchmarks/setup.sh" >&2
    elif ! install_servers; then
        echo "Not installed, because apt-get failed:$missing" >&2
    fi
fi

python="$PEERS_DIR/v/bin/python"
mkdir -p "$PEERS_DIR"
[ -x "$python" ] || python3 -m venv "$PEERS_DIR/v"
if ! "$python" -c 'import bson, gevent, hiredis, orjson, pika, psutil, psycopg, redis, zmq' 2>/dev/null; then
    "$python" -m pip install --quiet pymongo pyzmq gevent redis hiredis pika 'psycopg[binary]' psutil orjson ||
        echo "The clients of the peers could not be installed." >&2
fi

# The peers of map-reduce: each by itself, so that one that is not to be had does not keep the others away. Spark needs
# Java, which `apt-get install default-jre-headless` brings.
install_peer() {
    module=$1
    shift
    "$python" -c "import $module" 2>/dev/null || "$python" -m pip install --quiet "$@" ||
        echo "Not installed, because pip failed: $*" >&2
}
install_peer polars polars
install_peer distributed 'dask[bag,distributed]'
install_peer pyspark 'pyspark==3.5.*'
install_peer ray ray
install_peer mrjob mrjob setuptools
