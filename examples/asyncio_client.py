"""An asyncio program whose tasks share one acknowledging client.

zcmd serve &
python examples/asyncio_client.py
zcmd find --type signup --count
"""

from __future__ import annotations

import asyncio
import sys

from zarkov.client import AsyncZarkovClient

VISITORS, STEPS = 20, 25


async def visitor(client: AsyncZarkovClient, number: int) -> None:
    """What a request handler would do: tell what happened, and go on once it is on disk."""
    for step in range(STEPS):
        await client.event("step", {"user": f"user{number}"}, {"step": step})
    await client.event("signup", {"user": f"user{number}"})
    await client.flush()  # the tasks that flush at the same time share a batch


async def main(address: str = "tcp://localhost:6546") -> None:
    async with AsyncZarkovClient(address) as client:
        await asyncio.gather(*(visitor(client, number) for number in range(VISITORS)))
        print(f"{client.acknowledged} events acknowledged in {client.stats.batches_sent} batches")


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
