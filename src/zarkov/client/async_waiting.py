"""The event loop that a client belongs to, and the lines of tasks that wait in it.

Who waits has a future, which is told True, or False when its time is over.
"""

from __future__ import annotations

import asyncio
from collections import deque

from zarkov.errors import ClientError

Waiter = asyncio.Future[bool]
#: Who waits, in the order of coming, each with what it waits for: a size, or a mark.
Line = deque[tuple[int, Waiter]]


def loop_here(own: asyncio.AbstractEventLoop | None) -> asyncio.AbstractEventLoop:
    """The running loop, which is the client's own, or becomes it because there is none yet or it is closed.

    Raises: ClientError: it is another's, or none runs.
    """
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        hint = "Await it in the event loop's thread; ZarkovClient is for programs without one."
        raise ClientError("an AsyncZarkovClient was used where no event loop runs", hint=hint) from None
    if loop is not own and own is not None and not own.is_closed():
        hint = "Make one client for each event loop; call it from others by asyncio.run_coroutine_threadsafe."
        raise ClientError("an AsyncZarkovClient was used in another event loop than its own", hint=hint)
    return loop


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
