"""The root of the tree, and the errors that belong to no stage."""

from __future__ import annotations


class ZarkovError(Exception):
    """The root: one sentence that names the thing at fault, a stable code and the way out."""

    code: str = "internal"
    retryable: bool = False
    hint: str = "Look at the server's log; this is a fault in Zarkov."

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        if hint is not None:
            self.hint = hint

    def to_dict(self) -> dict[str, str | bool]:
        """The error as it stands on the wire: `{code, message, retryable, hint}`."""
        return {"code": self.code, "message": str(self), "retryable": self.retryable, "hint": self.hint}


class ConfigError(ZarkovError):
    """A setting is unknown, of the wrong type or out of range."""

    code = "config_invalid"
    hint = "Run `zcmd check-config` to see each setting and where it came from."


class KeyInvalid(ConfigError):
    """A key file is missing, malformed, or readable by others than its owner."""

    code = "key_invalid"
    hint = "Make keys with `zcmd keygen`; a secret key file must be readable by its owner alone (chmod 600)."


class ServerUnreachable(ZarkovError):
    """No server answers."""

    code = "server_unreachable"
    retryable = True
    hint = "Start one with `zcmd serve`."
