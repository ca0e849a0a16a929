"""The shared code of benchmarks/peers, importable: those files import each other by bare name."""

import importlib
import sys
from pathlib import Path
from typing import Any

PEERS = Path(__file__).resolve().parent / "peers"


def peer_module(name: str) -> Any:
    """Import one unchanged file of benchmarks/peers, for example `common` or `ingest_zmq`.

    Raises: ImportError: one of the packages it needs is missing (psutil and orjson, for common).
    """
    if str(PEERS) not in sys.path:
        sys.path.insert(0, str(PEERS))
    return importlib.import_module(name)
