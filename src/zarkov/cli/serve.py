"""The server: a small supervisor and its children. Run as `python -m zarkov.cli.serve`, by `zcmd serve`.

Imports neither typer nor rich nor gevent: this process lives as long as the server and should stay small.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence

from zarkov.cli import logs, systemd
from zarkov.cli.curve import server_keys
from zarkov.cli.exposure import refuse_wide_binds
from zarkov.cli.options import Options, parse_child
from zarkov.cli.output import report
from zarkov.cli.servers import warnings
from zarkov.cli.settings import load
from zarkov.cli.supervisor import ChildSpec, Supervisor
from zarkov.config import Settings

# Run as a module, its __name__ would be __main__.
log = logging.getLogger("zarkov.cli.serve")


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until a signal ends it; returns the exit code."""
    options = parse_child(sys.argv[1:] if argv is None else argv).options
    try:
        resolved = load(options)
        refuse_wide_binds(resolved)
        server_keys(resolved.settings)
        logs.set_up(resolved.settings, "serve")
        for warning in (*resolved.warnings, *warnings(resolved.settings)):
            log.warning("%s", warning)
        if resolved.settings.zmr.local_workers and _lacks_client_keys(resolved.settings):
            log.warning("no workers of map-reduce are run: set curve.client_key_file and curve.server_public_key")
        return supervise(options, resolved.settings)
    except Exception as error:  # noqa: BLE001  # the outermost frame: every error ends as one sentence
        return report(error, verbose=options.verbose)


def supervise(options: Options, settings: Settings) -> int:
    """Run the children of these settings until a signal ends them; returns the exit code."""

    def tell_ready() -> None:
        ingest = settings.ingest
        log.info(
            "ready bson=%s json=%s publish=%s ack=%s data_dir=%s",
            ingest.bson_bind_address,
            ingest.json_bind_address,
            ingest.publish_bind_address,
            ingest.ack_bind_address,
            settings.data_dir,
        )
        if settings.systemd_notify:
            systemd.notify("READY=1\nSTATUS=Taking events")

    def tell_stopping() -> None:
        log.info("stopping drain_s=%.0f", settings.drain_s)
        if settings.systemd_notify:
            systemd.notify("STOPPING=1\nSTATUS=Syncing what was taken")

    supervisor = Supervisor(
        children(options, settings),
        settings.restart_s_max,
        settings.drain_s,
        on_ready=tell_ready,
        on_stopping=tell_stopping,
    )
    code = supervisor.run()
    log.info("stopped exit=%d", code)
    return code


def children(options: Options, settings: Settings) -> list[ChildSpec]:
    """The processes of the server, in the order in which they start."""
    argv = tuple(options.argv())
    if settings.num_event_servers == 1:
        found = [ChildSpec("eventlog", "zarkov.cli.eventlog", argv)]
    else:
        found = [
            ChildSpec(f"eventlog-{number}", "zarkov.cli.eventlog", (*argv, f"--server={number}"))
            for number in range(settings.num_event_servers)
        ]
        found.append(ChildSpec("balancer", "zarkov.cli.balancer", argv))
    if settings.mongo_uri is not None:
        found.append(ChildSpec("loader", "zarkov.cli.loader", argv))
    found.append(ChildSpec("zmr-router", "zarkov.cli.zmr_router", argv))
    if settings.zmr.local_workers and not _lacks_client_keys(settings):
        workers = (*argv, f"--processes={settings.zmr.local_workers}")
        found.append(ChildSpec("zmr-worker", "zarkov.cli.zmr_worker", workers))
    return found


def _lacks_client_keys(settings: Settings) -> bool:
    """Whether workers would not be let in by the router of these settings."""
    return settings.curve.server_key_file is not None and settings.curve.client_key_file is None


if __name__ == "__main__":
    sys.exit(main())
