"""Settings: everything that can be configured, resolved once and passed down."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from zarkov.config.binds import loopback_uri
from zarkov.config.features import (
    Backdoor,
    CurveSettings,
    ExtraDatabase,
    LoadBalance,
    LogStream,
    WebEvent,
    ZmrSettings,
)
from zarkov.config.fields import component, setting
from zarkov.config.ingest import IngestSettings
from zarkov.config.journal import JournalSettings
from zarkov.config.mongo import LoaderSettings

EVENT_SERVERS_MAX = 64
#: Messages that the balancer and an event server behind it queue for each other, at most, on each socket of events
#: sent without acknowledgement; the balancer joins small ones.
BALANCED_HWM = 256


@dataclass(frozen=True, slots=True)
class Settings:
    """All settings. `Settings()` is a working server on loopback with the embedded store.

    The components carry the rest: `ingest` and `log` hold flat keys of the settings file, `zmr`,
    `loadbalance` and `webevent` the nested ones.
    """

    data_dir: Path = setting(Path("zarkov-data"), "Directory of everything stored; relative to the working directory")
    journal: str = setting("journal", "Directory of the journal, relative to data_dir", kind="name")
    bson_uri: str | None = setting(
        None, "Where clients of these settings send BSON; null follows bson_bind_address", kind="uri"
    )
    json_uri: str | None = setting(
        None, "Where clients of these settings send JSON; null follows json_bind_address", kind="uri"
    )
    ack_uri: str | None = setting(
        None, "Where acknowledged clients connect; null follows ack_bind_address", kind="uri"
    )
    web_port: int = setting(8081, "Port of the web service", minimum=0, maximum=65_535)
    mongo_uri: str | None = setting(
        None, "MongoDB server; null keeps everything in the embedded store", kind="mongo", secret=True
    )
    mongo_database: str = setting("zarkov", "Database on that server")
    mongo_username: str | None = setting(None, "User of that server, where it asks for one")
    mongo_password: str | None = setting(None, "Password of that user", secret=True)
    extra_dbs: tuple[ExtraDatabase, ...] = setting((), "Other databases that functions can read")
    extra: Mapping[str, object] = component(dict, "Free settings for tasks and plug-ins")
    verbose: bool = setting(False, "Log in detail (as log_level: debug)")
    log_level: str = setting("info", "Least severe messages logged", choices=("debug", "info", "warning", "error"))
    log_format: str = setting("text", "Log lines as text or as JSON", choices=("text", "json"))
    incremental: int = setting(0, "1 runs incremental aggregation in the server, 0 does not", minimum=0)
    num_event_servers: int = setting(
        1,
        "Event servers that share the load, with a journal each; clients see one address",
        minimum=1,
        maximum=EVENT_SERVERS_MAX,
    )
    backdoor: tuple[Backdoor, ...] = setting((), "Debugging ports")
    logstream: tuple[LogStream, ...] = setting((), "TCP ports whose lines become events")
    systemd_notify: bool = setting(True, "Tell systemd when `serve` is ready, where it asks (NOTIFY_SOCKET)")
    restart_s_max: float = setting(
        30,
        "Longest wait before `serve` restarts a child that keeps dying",
        unit="s",
        minimum=0.1,
        maximum=3600,
    )
    drain_s: float = setting(
        30,
        "Time children have to drain and sync on SIGTERM before they are killed",
        unit="s",
        minimum=0.1,
        maximum=3600,
    )
    ingest: IngestSettings = component(IngestSettings, "The event server", flat=True)
    log: JournalSettings = component(JournalSettings, "The journal", flat=True)
    loader: LoaderSettings = component(LoaderSettings, "The loader into MongoDB", flat=True)
    curve: CurveSettings = component(CurveSettings, "Keys")
    zmr: ZmrSettings = component(ZmrSettings, "Map-reduce")
    loadbalance: LoadBalance = component(LoadBalance, "The load balancer")
    webevent: WebEvent = component(WebEvent, "The web-event gateway")
    server: int = 0  # which of the event servers these settings are for; no key of the settings file

    @property
    def journal_dir(self) -> Path:
        """The directory of the journal's segments."""
        return self.data_dir / self.journal

    @property
    def documents_path(self) -> Path:
        """The file of the embedded store's documents."""
        return self.data_dir / "documents.sqlite"

    @property
    def rejected_path(self) -> Path:
        """The file of the rejected events."""
        return self.data_dir / f"rejected{self._suffix}.sqlite"

    @property
    def control_path(self) -> Path:
        """The socket on which a running event server answers commands."""
        return self.data_dir / f"control{self._suffix}.sock"

    @property
    def run_dir(self) -> Path:
        """The directory of the sockets between several event servers and their balancer."""
        return self.data_dir / "run"

    def event_servers(self) -> list[Settings]:
        """The settings of each event server: these, if there is one; else one for each, in order."""
        if self.num_event_servers == 1:
            return [self]
        return [self.event_server(number) for number in range(self.num_event_servers)]

    def event_server(self, number: int) -> Settings:
        """The settings of one of several event servers, which takes its load from the balancer.

        It has files of its own and listens in `run_dir`, without keys: the balancer asks for them in front. The first
        has the journal, rejected file and control socket that a single event server has.
        """
        queued_max = min(self.ingest.receive_hwm, BALANCED_HWM)
        ingest = replace(
            self.ingest,
            receive_hwm=queued_max,
            bson_bind_address=f"ipc://{self.run_dir}/{number}.bson",
            json_bind_address=f"ipc://{self.run_dir}/{number}.json",
            publish_bind_address=f"ipc://{self.run_dir}/{number}.pub",
            ack_bind_address=f"ipc://{self.run_dir}/{number}.ack",
        )
        journal = self.journal_of(number)
        curve = replace(self.curve, server_key_file=None, allow=None)
        return replace(self, server=number, num_event_servers=1, journal=journal, ingest=ingest, curve=curve)

    def journal_of(self, number: int) -> str:
        """The directory of the journal of one of several event servers, relative to data_dir."""
        return f"{self.journal}.{number}" if number else self.journal

    @property
    def _suffix(self) -> str:
        return f".{self.server}" if self.server else ""

    @property
    def bson_client_uri(self) -> str:
        """Where a client of these settings sends BSON."""
        return self.bson_uri or loopback_uri(self.ingest.bson_bind_address)

    @property
    def ack_client_uri(self) -> str:
        """Where a client of these settings has its events acknowledged."""
        return self.ack_uri or loopback_uri(self.ingest.ack_bind_address)
