"""Where log records go: one line each on standard error, as text or as JSON."""

from __future__ import annotations

import json
import logging
import os
import sys
import time

from zarkov.config import Settings


def set_up(settings: Settings, process: str) -> None:
    """Send the log of this process to standard error.

    Args: process: the name in each line, such as `eventlog`.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter(process) if settings.log_format == "json" else TextFormatter(process))
    level = logging.DEBUG if settings.verbose else settings.log_level.upper()
    logger = logging.getLogger("zarkov")
    logger.handlers[:] = [handler]
    logger.setLevel(level)
    logger.propagate = False


class TextFormatter(logging.Formatter):
    """`2026-11-24T08:25:35.123Z INFO eventlog[4711] first words key=value`, in UTC."""

    converter = staticmethod(time.gmtime)

    def __init__(self, process: str) -> None:
        line = f"%(asctime)s.%(msecs)03dZ %(levelname)s {process}[%(process)d] %(message)s"
        super().__init__(line, datefmt="%Y-%m-%dT%H:%M:%S")


class JsonFormatter(logging.Formatter):
    """One JSON object a line: at, level, process, pid, logger, message, and traceback where there is one."""

    converter = staticmethod(time.gmtime)

    def __init__(self, process: str) -> None:
        super().__init__(datefmt="%Y-%m-%dT%H:%M:%S")
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, object] = {
            "at": f"{self.formatTime(record, self.datefmt)}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "process": self._process,
            "pid": os.getpid(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            entry["traceback"] = self.formatException(record.exc_info)
        return json.dumps(entry, ensure_ascii=False)
