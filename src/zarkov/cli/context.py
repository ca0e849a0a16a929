"""What a command is given: the options before it, and the settings they resolve to."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import cast

import typer

from zarkov.cli.options import Options
from zarkov.cli.output import warn
from zarkov.config import Resolved, Settings


@dataclass
class Zcmd:
    """The options of this call of zcmd; the settings are read when a command first asks for them."""

    options: Options

    @cached_property
    def resolved(self) -> Resolved:
        """The settings with their origins.

        Raises: ConfigError.
        """
        from zarkov.cli.settings import load

        resolved = load(self.options)
        for warning in resolved.warnings:
            warn(warning)
        return resolved

    @property
    def settings(self) -> Settings:
        """The settings alone."""
        return self.resolved.settings


def zcmd_of(ctx: typer.Context) -> Zcmd:
    """The call of zcmd that a command belongs to."""
    return cast(Zcmd, ctx.obj)
