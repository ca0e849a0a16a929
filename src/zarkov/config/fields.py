"""How a setting is declared: its default, unit, range and one-line meaning, beside its type."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, TypeVar

T = TypeVar("T")

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB

INT_MAX = 2**63 - 1

# "bind" and "uri" are ZeroMQ addresses; "host" is one whose port is given elsewhere; "mongo" a
# MongoDB address; "name" one path component or a relative path without "..".
Kind = Literal["", "bind", "uri", "host", "mongo", "name"]


@dataclass(frozen=True, slots=True)
class SettingInfo:
    """What is known about one setting besides its name, type and default.

    unit: "bytes", "s", "events" and so on; "" where there is none. Values in bytes and seconds may
        also be written with a unit, as text: `128 MiB`, `30 d`.
    minimum, maximum: both allowed; None where the type alone decides.
    secret: shown as stars; may be read from a file named by ZARKOV_<KEY>_FILE.
    flat: the field is a component whose keys stand at the top level of the settings file.
    """

    meaning: str
    unit: str = ""
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()
    kind: Kind = ""
    secret: bool = False
    flat: bool = False


def setting(
    default: T,
    meaning: str,
    *,
    unit: str = "",
    minimum: float | None = None,
    maximum: float | None = None,
    choices: tuple[str, ...] = (),
    kind: Kind = "",
    secret: bool = False,
) -> T:
    """Declare one dataclass field with its default and its meaning (see SettingInfo)."""
    info = SettingInfo(meaning, unit, minimum, maximum, choices, kind, secret)
    return field(default=default, metadata={"setting": info})


def component(factory: Callable[[], T], meaning: str, *, flat: bool = False) -> T:
    """Declare a field that holds a whole component, or a mapping: built anew for each Settings."""
    info = SettingInfo(meaning, flat=flat)
    return field(default_factory=factory, metadata={"setting": info})
