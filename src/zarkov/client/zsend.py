"""zsend.py: events from standard input, one JSON object a line, to a server's PULL socket.

    echo '{"type": "nop"}' | zsend.py tcp://localhost:6543
    zcat events.ndjson.gz  | zsend.py tcp://localhost:6543 @/etc/zarkov.key

A line is sent as BSON, `{"$datetime": <epoch seconds>}` and the other forms of Extended JSON made dates, and an
RFC 3339 `timestamp` too. With a key, the key goes before each event as a frame of its own, for `zcmd proxy`. PUSH is
fire and forget: this ends when the events are on the network, not when they are stored.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from zarkov.client.limits import Limits
from zarkov.client.push import PushLink
from zarkov.codec import encode, from_json
from zarkov.errors import ConfigError, EventRefused, ZarkovError
from zarkov.event import EVENT_BYTES_MAX, parse_rfc3339

USAGE = """\
usage: zsend.py URI [KEY | @KEYFILE]  <  one JSON object a line

  URI       the server's bson_bind_address, such as tcp://localhost:6543
  KEY       the shared key of `zcmd proxy`, or @ and the file that holds it

example: echo '{"type": "nop"}' | zsend.py tcp://localhost:6543
"""
CONNECT_TIMEOUT_S = 30.0


def main() -> int:
    """The console script. Exit code 0: everything was sent; 1: some lines were not; 2: wrong usage."""
    arguments = sys.argv[1:]
    if len(arguments) not in (1, 2) or arguments[0] in ("-h", "--help"):
        print(USAGE, end="", file=sys.stdout if "--help" in arguments or "-h" in arguments else sys.stderr)
        return 0 if arguments and arguments[0] in ("-h", "--help") else 2
    try:
        key = _key(arguments[1]) if len(arguments) == 2 else None
        link = PushLink(arguments[0], limits=Limits(), on_full="block", timeout_s=CONNECT_TIMEOUT_S, key=key)
    except ZarkovError as error:
        print(f"zsend.py: {error} {error.hint}", file=sys.stderr)
        return 2
    try:
        bad = send_lines(sys.stdin.buffer, link.send, lambda text: print(f"zsend.py: {text}", file=sys.stderr))
    except ZarkovError as error:
        print(f"zsend.py: {error}. {error.hint}", file=sys.stderr)
        return 1
    finally:
        link.close(CONNECT_TIMEOUT_S)
    return 1 if bad else 0


def send_lines(lines: Iterable[bytes], send: Callable[[bytes], None], complain: Callable[[str], None]) -> int:
    """Send each line that is an event, complain of the others with their number; returns how many those are."""
    bad = 0
    for number, line in enumerate(lines, 1):
        if line.isspace():
            continue
        try:
            send(event_of(line))
        except EventRefused as refused:
            bad += 1
            complain(f"line {number}: {refused} [{refused.code}]")
    return bad


def event_of(line: bytes) -> bytes:
    """The event on one line of JSON, as BSON. Raises: EventRefused."""
    document = from_json(line.strip())
    stamp = document.get("timestamp")
    if isinstance(stamp, str):
        document["timestamp"] = parse_rfc3339(stamp)
    event = encode(document)
    if len(event) > EVENT_BYTES_MAX:
        raise EventRefused("too_large", f"the event has {len(event):,} bytes; {EVENT_BYTES_MAX:,} is the limit")
    return event


def _key(argument: str) -> bytes:
    if not argument.startswith("@"):
        return argument.encode()
    path = Path(argument[1:])
    try:
        return path.read_bytes().strip()
    except OSError as error:
        raise ConfigError(f"the key file {path} cannot be read: {error.strerror}.", hint="Name a file.") from error


if __name__ == "__main__":
    sys.exit(main())
