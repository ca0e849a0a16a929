"""What both clients say of themselves, and ask of their arguments."""

from __future__ import annotations

from typing import Protocol, get_args

from zarkov.client.frames import PRODUCER_BYTES_MAX
from zarkov.client.limits import OnFull
from zarkov.client.stats import ClientStats
from zarkov.errors import ConfigError


class CountingLink(Protocol):
    """A way to the server that counts what it carries."""

    @property
    def stats(self) -> ClientStats: ...
    @property
    def position(self) -> dict[str, int]: ...


class Counted:
    """A client over a link; its counts are the link's."""

    _link: CountingLink

    @property
    def stats(self) -> ClientStats:
        return self._link.stats

    @property
    def acknowledged(self) -> int:
        """Events known to be synced."""
        return self._link.stats.acknowledged

    @property
    def refused(self) -> int:
        """Events the server answered it will not store."""
        return self._link.stats.refused

    @property
    def dropped(self) -> int:
        """Events not taken because the queue was full, with on_full="drop"."""
        return self._link.stats.dropped

    @property
    def pending(self) -> int:
        """Events taken and neither acknowledged nor refused yet."""
        return self._link.stats.pending

    @property
    def position(self) -> dict[str, int]:
        """Behind the last acknowledged event: `{journal id: offset}`; a reader there sees all of this client's."""
        return self._link.position


def check_arguments(on_full: str, producer: bytes | None) -> None:
    """Raises: ConfigError: not what a client takes."""
    if on_full not in get_args(OnFull):
        raise ConfigError(f"on_full={on_full!r} is unknown", hint="Use 'block', 'drop' or 'raise'.")
    if producer is not None and not 1 <= len(producer) <= PRODUCER_BYTES_MAX:
        raise ConfigError("producer must have 1 to 64 bytes", hint="Leave it out for a random one.")
