#!/bin/sh
# Install the servers that Zarkov is measured beside (Debian 12, as root) and the virtual
# environment of their clients, $PEERS_DIR/v. They are never started as services: each
# measurement starts its own on an empty folder and stops it.  What is there already is kept.
# peers/setup_peers.sh installs every peer of peers/; this is the part that `make bench` uses.
set -e
PEERS_DIR=${PEERS_DIR:-${TMPDIR:-/tmp}/peers}
missing=
command -v redis-server >/dev/null || missing="$missing redis-server"
command -v rabbitmq-server >/dev/null || [ -x /usr/sbin/rabbitmq-server ] || missing="$missing rabbitmq-server"
command -v postgres >/dev/null || ls /usr/lib/postgresql/*/bin/postgres >/dev/null 2>&1 || missing="$missing postgresql-15"
if [ -n "$missing" ]; then
    # A package's own script would start its server and take the memory and the cores of the
    # measurements; Debian asks this file whether it may.
    policy=/usr/sbin/policy-rc.d
    if [ ! -e "$policy" ]; then
        printf '#!/bin/sh\nexit 101\n' > "$policy"
        chmod 755 "$policy"
        trap 'rm -f "$policy"' EXIT
    fi
    apt-get update -q
    # shellcheck disable=SC2086
    DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $missing
fi
mkdir -p "$PEERS_DIR"
[ -x "$PEERS_DIR/v/bin/python" ] || python3 -m venv "$PEERS_DIR/v"
"$PEERS_DIR/v/bin/pip" install --quiet pymongo pyzmq gevent redis hiredis pika 'psycopg[binary]' psutil orjson
echo "Peers are ready in $PEERS_DIR."
