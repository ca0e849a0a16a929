"""Lines of tasks that wait in an event loop: futures that are told True, or False when their time is over."""

from __future__ import annotations

import asyncio
from collections import deque

Waiter = asyncio.Future[bool]
#: Who waits, in the order of coming, each with what it waits for: a size, or a mark.
Line = deque[tuple[int, Waiter]]


async def wait(loop: asyncio.AbstractEventLoop, waiter: Waiter, timeout_s: float) -> bool:
    """What the waiter is told; False: nothing in time."""
    timer = loop.call_later(timeout_s, tell, waiter, False)
    try:
        return await waiter
    finally:
        timer.cancel()


def tell(waiter: Waiter, answer: bool) -> None:
    """Tell it, unless it was told before or its task was cancelled."""
    if not waiter.done():
        waiter.set_result(answer)


def dismiss(line: Line) -> None:
    """Tell everyone in the line that it will not be."""
    while line:
        tell(line.popleft()[1], False)
