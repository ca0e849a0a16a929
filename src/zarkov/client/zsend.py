"""zsend.py: events from standard input, one JSON object a line, to an event server.

    echo '{"type":"nop"}' | zsend.py tcp://localhost:6543

Each line becomes one BSON message over PUSH. A line that cannot be sent is reported on standard error under its
number; the others are sent all the same.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, TextIO

from zarkov.client.keys import Keys
from zarkov.client.limits import Limits
from zarkov.client.push import PushLink
from zarkov.codec import encode, from_json
from zarkov.errors import ConfigError, EventRefused, ServerUnreachable, ZarkovError
from zarkov.event import EVENT_BYTES_MAX, parse_rfc3339

#: JSON may be longer than its BSON, but not without end.
LINE_BYTES_MAX = 4 * EVENT_BYTES_MAX
CONNECT_S_MAX = 10.0
SEND_S_MAX = 60.0
_BLANK = b" \t\r\n"
_HINT_KEYS = "Give --client-key FILE, whose public key the server lets in, and --server-key, the server's public key."


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 0: all lines were sent; 1: some were not, or no server was reached; 2: wrong usage."""
    options = _parser().parse_args(arguments)
    logging.getLogger("zarkov").addHandler(logging.NullHandler())  # What the log would tell is told below.
    try:
        link = PushLink(
            options.uri,
            limits=Limits(),
            on_full="block",
            timeout_s=SEND_S_MAX,
            key=shared_key(options.key),
            keys=curve_keys(options.client_key, options.server_key),
        )
    except ConfigError as error:
        print(f"zsend.py: {error}. {error.hint}", file=sys.stderr)
        return 2
    try:
        refused_count = send_lines(sys.stdin.buffer, link.send, sys.stderr)
        if link.stats.taken and not link.wait_until_up(CONNECT_S_MAX):
            why = f"{options.uri}: {link.fault}" if link.fault else f"no server answers at {options.uri}"
            raise ServerUnreachable(
                f"{why}; not all events were sent",
                hint=_HINT_KEYS if link.fault else None,
            )
        link.close(SEND_S_MAX)
        if not link.all_left:
            raise ServerUnreachable(f"{options.uri} took not all events, or not within {SEND_S_MAX:g} s")
    except ZarkovError as error:
        print(f"zsend.py: {error}. {error.hint}", file=sys.stderr)
        return 1
    finally:
        link.close(0)
    return 1 if refused_count else 0


def shared_key(argument: str | None) -> bytes | None:
    """The key itself, or the content of the file named behind `@`, without the blanks around it.

    Raises: ConfigError: the file cannot be read.
    """
    if argument is None or not argument.startswith("@"):
        return argument.encode() if argument else None
    try:
        return Path(argument[1:]).read_bytes().strip()
    except OSError as error:
        raise ConfigError(
            f"cannot read the key file {argument[1:]}: {error.strerror}", hint="Name a readable file behind the @."
        ) from error


def curve_keys(client_key: str | None, server_key: str | None) -> Keys | None:
    """The keys that the options name; None without them.

    Raises: KeyInvalid: a key is none, or its file cannot be used; ConfigError: one of the options is missing.
    """
    if client_key is None and server_key is None:
        return None
    if client_key is None or server_key is None:
        raise ConfigError("--client-key and --server-key go together", hint=_HINT_KEYS)
    return Keys.load(client_key, server_key)


def send_lines(lines: BinaryIO, send: Callable[[bytes], None], errors: TextIO) -> int:
    """Send each line that is an event; report the others, and say how many they were."""
    refused_count = 0
    for number, line in enumerate(_lines(lines), 1):
        try:
            event = to_bson(line) if line.strip(_BLANK) else b""
        except EventRefused as refused:
            refused_count += 1
            print(f"zsend.py: line {number}: {refused} ({refused.code})", file=errors)
            continue
        if event:
            send(event)
    return refused_count


def to_bson(line: bytes) -> bytes:
    """One line of JSON as a BSON event, an RFC 3339 `timestamp` as a date.

    Raises: EventRefused: with one of `errors.REFUSAL_CODES`.
    """
    if len(line) > LINE_BYTES_MAX:
        raise EventRefused("too_large", f"the line is longer than {LINE_BYTES_MAX:,} bytes")
    document = from_json(line)
    stamp = document.get("timestamp")
    if isinstance(stamp, str):
        document["timestamp"] = parse_rfc3339(stamp)
    event = encode(document)
    if len(event) > EVENT_BYTES_MAX:
        raise EventRefused("too_large", f"the event has {len(event):,} bytes; {EVENT_BYTES_MAX:,} is the limit")
    return event


def _lines(source: BinaryIO) -> Iterator[bytes]:
    """The lines; of one that is too long, its beginning, which is longer than LINE_BYTES_MAX."""
    while line := source.readline(LINE_BYTES_MAX + 1):
        yield line
        while len(line) > LINE_BYTES_MAX and not line.endswith(b"\n"):
            line = source.readline(LINE_BYTES_MAX + 1)
            if not line:
                return


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="zsend.py",
        description="Send events from standard input, one JSON object a line.",
        epilog="""example:  echo '{"type":"nop"}' | zsend.py tcp://localhost:6543""",
    )
    parser.add_argument("uri", help="the server's bson_bind_address, such as tcp://localhost:6543")
    parser.add_argument("key", nargs="?", help="a shared key for `zcmd proxy`, or @ and the file that holds it")
    parser.add_argument("--client-key", metavar="FILE", help="your secret key file, for a server that asks for keys")
    parser.add_argument("--server-key", metavar="KEY", help="that server's public key, or the file that holds it")
    return parser


if __name__ == "__main__":
    sys.exit(main())
