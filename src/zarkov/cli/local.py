"""The Unix sockets between the balancer and its event servers, in `data_dir/run`, however long that path is."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields, replace

from zarkov.config import IngestSettings, Settings

#: A Unix socket's address holds 108 bytes, and ours end in a name of up to 16.
FOLDER_BYTES_MAX = 90


@contextmanager
def run_dir(settings: Settings, servers: Sequence[Settings]) -> Iterator[list[IngestSettings]]:
    """Make `run_dir`, for its owner alone, and give the servers' addresses as this process can use them.

    Where the path is too long for a Unix socket, they lead through the open directory instead; hence they are valid
    in this process only, while the context lasts.
    """
    settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    settings.run_dir.mkdir(mode=0o700, exist_ok=True)
    settings.run_dir.chmod(0o700)
    folder = os.open(settings.run_dir, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        path = os.path.abspath(settings.run_dir)
        if len(os.fsencode(path)) > FOLDER_BYTES_MAX:
            path = f"/proc/self/fd/{folder}"
        yield [_moved(server.ingest, f"ipc://{settings.run_dir}/", f"ipc://{path}/") for server in servers]
    finally:
        os.close(folder)


def _moved(ingest: IngestSettings, before: str, after: str) -> IngestSettings:
    names = [field.name for field in fields(ingest) if field.name.endswith("_bind_address")]
    return replace(ingest, **{name: getattr(ingest, name).replace(before, after, 1) for name in names})
