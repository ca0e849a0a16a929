"""Layers of raw values to one Settings, with the origin of each key and the warnings.

Pure: the files, variables and flags are read by `zarkov.cli.settings`.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from zarkov.config.convert import Refused, convert
from zarkov.config.fields import INT_MAX
from zarkov.config.legacy import RETIRED
from zarkov.config.settings import Settings
from zarkov.config.table import Row, sections, table
from zarkov.errors import ConfigError

DEFAULT = "default"


@dataclass(frozen=True, slots=True)
class Layer:
    """One source of values; a later layer wins over an earlier one, key by key.

    name: as errors and `check-config` show it, such as the file's path.
    values: keys as in the settings file, sections as nested mappings.
    text: values are text to be parsed (environment and flags).
    names: what a key is called in this layer, where it is called otherwise (ZARKOV_WEB_PORT).
    """

    name: str
    values: Mapping[str, object]
    text: bool = False
    names: Mapping[str, str] | None = None

    def called(self, key: str) -> str:
        """The key as the user wrote it in this layer."""
        return (self.names or {}).get(key, key)


@dataclass(frozen=True, slots=True)
class Resolved:
    """The settings, where each key's value came from, and sentences to be logged as warnings."""

    settings: Settings
    origins: Mapping[str, str]
    warnings: tuple[str, ...]


def resolve(layers: Sequence[Layer]) -> Resolved:
    """Merge the layers, earliest first, over the defaults.

    Raises: ConfigError: an unknown key, or a value of the wrong type or out of its range, or two
        values that contradict each other; one sentence naming the key, the layer and the way out.
    """
    values: dict[str, object] = {}
    origins: dict[str, str] = {}
    warnings: list[str] = []
    for layer in layers:
        for key, raw in _entries(layer):
            if key in RETIRED:
                row, value = _retired(layer, key, raw, warnings)
            else:
                row = _row(layer, key)
                value = None if raw is None else _value(layer, row, raw)
            if row is not None and value is not None:
                values[row.key] = value
                origins[row.key] = layer.name
    settings = _build(values)
    _check_together(settings, origins)
    every = {key: origins.get(key, DEFAULT) for key in table()}
    return Resolved(settings, every, tuple(warnings))


def value_of(settings: Settings, key: str) -> object:
    """The value of a key as in the settings file, such as `zmr.local_workers`."""
    row = table()[key]
    home = row.homes[0]
    return getattr(getattr(settings, home) if home else settings, row.name)


def _entries(layer: Layer) -> Iterator[tuple[str, object]]:
    """The layer's keys with their sections in front."""
    for key, raw in layer.values.items():
        if key not in sections():
            yield str(key), raw
        elif isinstance(raw, Mapping):
            for inner, value in raw.items():
                yield f"{key}.{inner}", value
        elif raw is not None:
            raise ConfigError(
                f"{layer.called(key)} in {layer.name} must be a mapping of settings, not {raw!r:.60}",
                hint=f"Indent its keys below `{key}:`.",
            )


def _retired(layer: Layer, key: str, raw: object, warnings: list[str]) -> tuple[Row | None, object]:
    """A key of 2011: one warning, and the setting that takes its value, if one does."""
    retired = RETIRED[key]
    if retired.taken_by is None or raw is None:
        warnings.append(f"{layer.called(key)} in {layer.name} has no meaning any more: {_now(retired.instead)}")
        return None, None
    row = table()[retired.taken_by]
    low, high = row.info.minimum or 0, row.info.maximum or INT_MAX
    unbounded = replace(row, info=replace(row.info, minimum=0, maximum=None))
    value = _value(layer, unbounded, raw, called=layer.called(key))
    bounded = int(min(max(value, low), high)) if isinstance(value, int) else value
    warnings.append(
        f"{layer.called(key)} in {layer.name} is called {row.key} now; taken as {bounded:,} {row.info.unit}"
    )
    return row, bounded


def _now(instead: str) -> str:
    return f"{instead} took its place" if instead in table() else instead


def _row(layer: Layer, key: str) -> Row:
    row = table().get(key)
    if row is not None:
        return row
    near = difflib.get_close_matches(key, [*table(), *sections()], n=1, cutoff=0.5)
    if not near:
        near = [known for known in table() if known.endswith(f".{key}")][:1]
    hint = f"Did you mean {near[0]}?" if near else "`zcmd check-config` lists every setting."
    raise ConfigError(f"{layer.called(key)} in {layer.name} is not a setting", hint=hint)


def _value(layer: Layer, row: Row, raw: object, *, called: str | None = None) -> object:
    try:
        return convert(row, raw, text=layer.text)
    except Refused as error:
        sentence = str(error)
        if row.info.secret:
            sentence = sentence.partition(", not ")[0]
        default = "" if row.default in (None, (), "") or row.info.secret else f" (default: {row.default})"
        raise ConfigError(
            f"{called or layer.called(row.key)} in {layer.name} {sentence}",
            hint=f"Correct it or leave it out{default}.",
        ) from None


def _build(values: Mapping[str, object]) -> Settings:
    own: dict[str, Any] = {}
    components: dict[str, dict[str, object]] = {}
    for key, value in values.items():
        row = table()[key]
        for home in row.homes:
            (components.setdefault(home, {}) if home else own)[row.name] = value
    default = Settings()
    for home, inner in components.items():
        own[home] = replace(getattr(default, home), **inner)
    return Settings(**own)


def _check_together(settings: Settings, origins: Mapping[str, str]) -> None:
    ingest = settings.ingest
    for key in ("message_bytes_max", "batch_bytes_max"):
        if getattr(ingest, key) < ingest.event_bytes_max:
            raise ConfigError(
                f"{key} ({origins.get(key, DEFAULT)}) must not be below event_bytes_max "
                f"({origins.get('event_bytes_max', DEFAULT)}), which is {ingest.event_bytes_max:,} bytes",
                hint=f"Raise {key} or lower event_bytes_max.",
            )
    taken: dict[str, str] = {}
    for field in fields(ingest):
        address = getattr(ingest, field.name)
        if not field.name.endswith("_bind_address") or address.endswith((":*", ":0")):
            continue
        if address in taken:
            raise ConfigError(
                f"{field.name} ({origins.get(field.name, DEFAULT)}) and {taken[address]} are both {address}",
                hint="Give each its own port.",
            )
        taken[address] = field.name
    names = [each.name for each in settings.extra_dbs]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(
                f"extra_dbs ({origins.get('extra_dbs', DEFAULT)}) has the name {name!r} twice",
                hint="Give each of them a name of its own.",
            )
