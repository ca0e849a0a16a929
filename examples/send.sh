#!/bin/sh
# A deployment script that says what it did, and goes on only once that is on disk.
#
#     zcmd serve &
#     examples/send.sh
#
# ZCMD and ACK name another zcmd, and another server.
set -eu
zcmd=${ZCMD:-zcmd}
ack=${ACK:-tcp://localhost:6546}

# One event: its type, its context, its extra. It prints the offset under which it is stored.
offset=$("$zcmd" send deploy app=shop version=1.4 --extra '{"by": "ada"}' --ack-address "$ack")
echo "deployment begun, event $offset"

# Many events: one JSON object a line.
for host in web1 web2 web3; do
    printf '{"type": "restart", "context": {"app": "shop", "host": "%s"}}\n' "$host"
done | "$zcmd" send - --ack-address "$ack"

# Exit code 1: an event is not stored, and standard error says why. 2: the command was written wrongly.
if "$zcmd" send "" app=shop --ack-address "$ack" 2>/dev/null; then
    echo "an event without a type is refused" >&2
    exit 1
fi
"$zcmd" send deployed app=shop version=1.4 --ack-address "$ack" --timeout 5
