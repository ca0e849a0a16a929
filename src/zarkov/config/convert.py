"""One raw value, from YAML or from text, to the type of its setting, with its range checked.

Every refusal is a `Refused` with the end of a sentence that begins with the key: "must be ...".
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from types import NoneType, UnionType
from typing import get_args, get_origin

from zarkov.config.binds import is_address
from zarkov.config.fields import GIB, INT_MAX, KIB, MIB, SettingInfo
from zarkov.config.table import Row, fields_of

TEXT_CHARACTERS_MAX = 4096
ITEMS_MAX = 1000

_NUMBER_WITH_UNIT = re.compile(r"^\s*(\d+(?:\.\d+)?)\s*([A-Za-z]+)\s*$")
_BYTES = {
    "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12,
    "kib": KIB, "mib": MIB, "gib": GIB, "tib": 1024 * GIB,
}  # fmt: skip
_SECONDS = {"ms": 0.001, "s": 1, "min": 60, "h": 3600, "d": 86_400}
_BOOLEANS = {"true": True, "yes": True, "on": True, "1": True,
             "false": False, "no": False, "off": False, "0": False}  # fmt: skip


class Refused(ValueError):
    """A value does not fit; the text completes the sentence "<key> ..."."""


def convert(row: Row, raw: object, *, text: bool) -> object:
    """Turn `raw` into the value of `row`.

    Args: text: the value comes from the environment or a flag: numbers, booleans and JSON are
        read from it. YAML has done that itself.
    Raises: Refused.
    """
    wanted = row.type
    if isinstance(wanted, UnionType):
        if raw is None or (text and raw in ("", "null")):
            return None
        (wanted,) = (kind for kind in get_args(wanted) if kind is not NoneType)
    value = _of_type(wanted, row.info, raw, text)
    _check_range(row.info, value)
    return value


def _of_type(wanted: object, info: SettingInfo, raw: object, text: bool) -> object:
    if wanted is bool:
        return _boolean(raw, text)
    if wanted in (int, float):
        return _number(wanted is int, info, raw, text)
    if wanted is str:
        return _string(info, raw)
    if wanted is Path:
        return Path(_string(info, raw)).expanduser()
    if get_origin(wanted) is tuple:
        return _items(get_args(wanted)[0], info, raw, text)
    return _mapping(raw, text)


def _boolean(raw: object, text: bool) -> bool:
    if isinstance(raw, bool):
        return raw
    if isinstance(raw, int) and raw in (0, 1):
        return bool(raw)
    if text and isinstance(raw, str) and raw.strip().lower() in _BOOLEANS:
        return _BOOLEANS[raw.strip().lower()]
    raise Refused(f"must be true or false, not {shown(raw)}")


def _number(whole: bool, info: SettingInfo, raw: object, text: bool) -> int | float:
    value: float | int | None = None
    if isinstance(raw, str):
        value = _number_from_text(info, raw, text)
    elif isinstance(raw, int | float) and not isinstance(raw, bool):
        value = raw
    if value is None or not math.isfinite(value):
        raise Refused(f"must be {_number_wanted(whole, info)}, not {shown(raw)}")
    if not whole:
        return float(value)
    if value != int(value):
        raise Refused(f"must be a whole number, not {shown(raw)}")
    return int(value)


def _number_from_text(info: SettingInfo, raw: str, text: bool) -> float | int | None:
    found = _NUMBER_WITH_UNIT.match(raw)
    if found and info.unit in ("bytes", "s"):
        factor = (_BYTES if info.unit == "bytes" else _SECONDS).get(found[2].lower())
        return None if factor is None else float(found[1]) * factor
    if not text:
        return None
    for kind in (int, float):
        try:
            return kind(raw)
        except ValueError:
            continue
    return None


def _number_wanted(whole: bool, info: SettingInfo) -> str:
    wanted = "a whole number" if whole else "a number"
    if info.unit == "bytes":
        return f"{wanted} of bytes or a text as '128 MiB'"
    if info.unit == "s":
        return f"{wanted} of seconds or a text as '30 d'"
    return wanted


def _string(info: SettingInfo, raw: object) -> str:
    if not isinstance(raw, str):
        hint = "; put it in quotes" if isinstance(raw, int | float) else ""
        raise Refused(f"must be text, not {shown(raw)}{hint}")
    if len(raw) > TEXT_CHARACTERS_MAX:
        raise Refused(f"must be at most {TEXT_CHARACTERS_MAX} characters long")
    if info.kind in ("bind", "uri") and not is_address(raw):
        raise Refused(f"must be an address as 'tcp://127.0.0.1:6543', not {shown(raw)}")
    if info.kind == "host" and not is_address(raw, port_required=False):
        raise Refused(f"must be an address as 'tcp://127.0.0.1', not {shown(raw)}")
    if info.kind == "mongo" and not raw.startswith(("mongodb://", "mongodb+srv://")):
        raise Refused("must begin with mongodb:// or mongodb+srv://")
    if info.kind == "name":
        parts = PurePosixPath(raw).parts
        if not parts or ".." in parts or raw.startswith("/"):
            raise Refused(f"must be a path below data_dir, not {shown(raw)}")
    return raw


def _items(wanted: object, info: SettingInfo, raw: object, text: bool) -> tuple[object, ...]:
    if text and isinstance(raw, str):
        raw = (
            _from_json(raw)
            if raw.lstrip().startswith("[")
            else [part.strip() for part in raw.split(",") if part.strip()]
        )
    if not isinstance(raw, Sequence) or isinstance(raw, str | bytes):
        raise Refused(f"must be a list, not {shown(raw)}")
    if len(raw) > ITEMS_MAX:
        raise Refused(f"must have at most {ITEMS_MAX} items")
    if isinstance(wanted, type) and dataclasses.is_dataclass(wanted):
        return tuple(_item(wanted, item) for item in raw)
    return tuple(_of_type(wanted, info, item, text=False) for item in raw)


def _item(wanted: type[object], raw: object) -> object:
    """One mapping of a list. A field whose default is empty must be given."""
    rows = {row.key: row for row in fields_of(wanted)}
    if not isinstance(raw, Mapping) or not set(raw) <= set(rows):
        raise Refused(f"must be a list of mappings with {', '.join(rows)}, not {shown(raw)}")
    missing = [key for key, row in rows.items() if key not in raw and not row.default]
    if missing:
        raise Refused(f"must give {missing[0]} in each item, unlike {shown(raw)}")
    try:
        values = {key: convert(rows[key], value, text=False) for key, value in raw.items()}
    except Refused as error:
        raise Refused(f"has an item {shown(raw)} with a value that {error}") from None
    return wanted(**values)


def _mapping(raw: object, text: bool) -> Mapping[str, object]:
    if text and isinstance(raw, str):
        raw = _from_json(raw)
    if not isinstance(raw, Mapping) or not all(isinstance(key, str) for key in raw):
        raise Refused(f"must be a mapping, not {shown(raw)}")
    return dict(raw)


def _from_json(raw: str) -> object:
    try:
        return json.loads(raw)
    except (ValueError, RecursionError):
        raise Refused(f"must be JSON, not {shown(raw)}") from None


def _check_range(info: SettingInfo, value: object) -> None:
    if info.choices and value not in info.choices:
        raise Refused(f"must be one of {', '.join(info.choices)}, not {shown(value)}")
    if not isinstance(value, int | float) or isinstance(value, bool):
        return
    unit = f" {info.unit}" if info.unit else ""
    if info.minimum is not None and value < info.minimum:
        raise Refused(f"must be at least {info.minimum:,.15g}{unit}, not {value:,.15g}")
    maximum = INT_MAX if info.maximum is None else info.maximum
    if value > maximum:
        raise Refused(f"must be at most {maximum:,.15g}{unit}, not {value:,.15g}")


def shown(raw: object) -> str:
    """A value as an error shows it: short, on one line."""
    text = repr(raw)
    return text if len(text) <= 60 else text[:57] + "..."
