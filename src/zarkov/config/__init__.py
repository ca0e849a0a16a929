"""Settings: data, declared once with default, unit, range and meaning, resolved once at start.

Reading order: `fields` (how a setting is declared), `journal`, `ingest`, `features` and `settings`
(the typed models, one a component), `table` (one row a key, for the documentation and the checks),
`convert` (one value), `legacy` (keys of 2011), `resolve` (layers to Settings). Reading files,
environment and flags is `zarkov.cli.settings`.
"""

from zarkov.config.binds import is_loopback, loopback_uri
from zarkov.config.features import (
    Backdoor,
    ExtraDatabase,
    LoadBalance,
    LogStream,
    WebEvent,
    ZmrSettings,
)
from zarkov.config.fields import SettingInfo
from zarkov.config.ingest import IngestSettings
from zarkov.config.journal import JournalSettings
from zarkov.config.legacy import RETIRED
from zarkov.config.resolve import DEFAULT, Layer, Resolved, resolve, value_of
from zarkov.config.settings import Settings
from zarkov.config.table import Row, sections, table

__all__ = [
    "DEFAULT",
    "RETIRED",
    "Backdoor",
    "ExtraDatabase",
    "IngestSettings",
    "JournalSettings",
    "Layer",
    "LoadBalance",
    "LogStream",
    "Resolved",
    "Row",
    "SettingInfo",
    "Settings",
    "WebEvent",
    "ZmrSettings",
    "is_loopback",
    "loopback_uri",
    "resolve",
    "sections",
    "table",
    "value_of",
]
