"""The commented settings file that `zcmd init --config` writes: every key with its default, commented out."""

from __future__ import annotations

import json
import textwrap
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import get_args, get_origin

from zarkov.config import Row, sections, table

HEAD = """\
# Settings of Zarkov. Every key is optional; what stands here commented out is the default.
# Precedence: this file < environment (ZARKOV_WEB_PORT, ZARKOV_ZMR__LOCAL_WORKERS) < flags (--set web_port=8081).
# Sizes may be written as '128 MiB', times as '30 d'. `zcmd -y FILE check-config` checks it and shows every origin.
"""


def sample() -> str:
    """The text of the file: loads as it is, and as it is changes nothing."""
    parts = [HEAD]
    for section in ("", *sorted(sections())):
        rows = [row for row in table().values() if row.section == section]
        indent = ""
        if section:
            parts.append(f"\n#{section}:\n")
            indent = "  "
        parts += [_entry(row, indent) for row in rows]
    return "".join(parts)


def _entry(row: Row, indent: str) -> str:
    unit = f" ({row.info.unit})" if row.info.unit else ""
    choices = f" One of: {', '.join(row.info.choices)}." if row.info.choices else ""
    comment = textwrap.fill(f"{row.info.meaning}{unit}.{choices}", 100, initial_indent="# ", subsequent_indent="# ")
    return f"\n{comment}\n#{indent}{row.name}: {_default(row)}\n"


def _default(row: Row) -> str:
    if row.default == () and get_origin(row.type) is tuple:
        kind = get_args(row.type)[0]
        names = [field.name for field in fields(kind)] if is_dataclass(kind) else []
        return f"[]  # items with {', '.join(names)}" if names else "[]"
    if isinstance(row.default, Path):
        return str(row.default)
    return json.dumps(row.default)
