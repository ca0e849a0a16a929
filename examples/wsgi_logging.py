"""A small web program whose logging goes to Zarkov, configured as a Django or Flask program would configure it.

    zcmd serve &
    python examples/wsgi_logging.py                        # then: curl http://127.0.0.1:8000/orders/17?user=ada
    zcmd find --type log --where context.level=ERROR

Every record below is one event: what stands in `extra=` is in its `context`, to be found by. The server may be away,
or slow: the program does not wait for it.
"""

from __future__ import annotations

import logging
import logging.config
import signal
import sys
from collections.abc import Callable, Iterable
from socketserver import ThreadingMixIn
from typing import Any
from urllib.parse import parse_qs
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

# In Django's settings.py this is LOGGING, word for word.
LOGGING: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {
        "zarkov": {"class": "zarkov.client.logging.ZarkovHandler", "address": "tcp://localhost:6546"},
        "console": {"class": "logging.StreamHandler", "level": "WARNING"},
    },
    "root": {"handlers": ["zarkov", "console"], "level": "INFO"},
}

logger = logging.getLogger("shop")
ORDERS = {"17": 995, "18": 0}


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """`/orders/N`: what the order costs. Order 18 is a fault, to show how a traceback is kept."""
    path = environ["PATH_INFO"]
    user = parse_qs(environ["QUERY_STRING"]).get("user", ["nobody"])[0]
    about = {"user": user, "path": path, "ip": environ.get("REMOTE_ADDR")}
    try:
        cents = ORDERS[path.rpartition("/")[2]]
        share = 10_000 // cents
    except KeyError:
        logger.warning("no such order", extra={**about, "status": 404})
        start_response("404 Not Found", [("Content-Type", "text/plain")])
        return [b"no such order\n"]
    except ZeroDivisionError:
        logger.exception("order cannot be shown", extra={**about, "status": 500})
        start_response("500 Internal Server Error", [("Content-Type", "text/plain")])
        return [b"a fault of ours\n"]
    logger.info("order shown to %s", user, extra={**about, "status": 200, "cents": cents})
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"{cents} cents, {share} for a hundred\n".encode()]


class ThreadingServer(ThreadingMixIn, WSGIServer):
    """A thread for each request."""


class Quiet(WSGIRequestHandler):
    """The access log is the program's own."""

    def log_message(self, format: str, *args: Any) -> None:
        del format, args


def main(address: str = "tcp://localhost:6546", port: str = "8000") -> None:
    LOGGING["handlers"]["zarkov"]["address"] = address
    logging.config.dictConfig(LOGGING)
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(0))
    with make_server("127.0.0.1", int(port), application, ThreadingServer, Quiet) as server:
        logger.info("serving", extra={"port": server.server_port})
        try:
            server.serve_forever()
        finally:
            logger.info("stopped")  # sent too: logging.shutdown waits for the handler


if __name__ == "__main__":
    main(*sys.argv[1:])
