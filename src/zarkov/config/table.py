"""The table of all settings, read off the dataclasses: one row a key."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from functools import cache
from typing import cast, get_type_hints

from zarkov.config.fields import SettingInfo
from zarkov.config.settings import Settings


@dataclasses.dataclass(frozen=True, slots=True)
class Row:
    """One setting: its key as in the settings file (`zmr.local_workers`), type, default, meaning.

    homes: the components that hold the value, as attribute names of Settings; "" is Settings itself.
    """

    key: str
    type: object
    default: object
    info: SettingInfo
    homes: tuple[str, ...]

    @property
    def name(self) -> str:
        """The field's name, without its section."""
        return self.key.rpartition(".")[2]

    @property
    def section(self) -> str:
        """The section the key is nested in, or ""."""
        return self.key.rpartition(".")[0]

    @property
    def variable(self) -> str:
        """The environment variable that sets it."""
        return "ZARKOV_" + self.key.replace(".", "__").upper()


@cache
def table() -> dict[str, Row]:
    """All settings by key, in the order of the documentation: top level first, then sections."""
    rows: dict[str, Row] = {}
    nested: list[Row] = []
    for row in fields_of(Settings):
        if not dataclasses.is_dataclass(row.type):
            rows[row.key] = row
            continue
        component = cast("type[object]", row.type)
        for inner in fields_of(component):
            if row.info.flat:
                known = rows.get(inner.key)
                homes = (*known.homes, row.key) if known else (row.key,)
                rows[inner.key] = dataclasses.replace(inner, homes=homes)
            else:
                key = f"{row.key}.{inner.key}"
                nested.append(dataclasses.replace(inner, key=key, homes=(row.key,)))
    return rows | {row.key: row for row in nested}


@cache
def sections() -> frozenset[str]:
    """The keys that hold a mapping of further keys."""
    return frozenset(row.section for row in table().values() if row.section)


def fields_of(component: type[object]) -> Iterator[Row]:
    """The fields of one component that are settings, as rows, keys without a section."""
    hints = get_type_hints(component)
    for field in dataclasses.fields(component):  # type: ignore[arg-type]  # every caller passes a dataclass
        if "setting" not in field.metadata:
            continue
        default = field.default
        if default is dataclasses.MISSING and field.default_factory is not dataclasses.MISSING:
            default = field.default_factory()
        info = cast(SettingInfo, field.metadata["setting"])
        yield Row(field.name, hints[field.name], default, info, ("",))
