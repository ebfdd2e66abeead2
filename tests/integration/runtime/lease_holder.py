"""A process that takes every lease it can and says so; the tests kill or stop it."""

import asyncio
import sys

from headrace_runtime.address import Address
from headrace_runtime.leases import RENEW_S, Leases


async def hold(dsn: str, partitions: int) -> None:
    leases = Leases(dsn, "holder", Address("127.0.0.1", 7001), partitions)
    while True:
        sys.stdout.write(f"{len(await leases.acquire())}\n")
        sys.stdout.flush()
        await asyncio.sleep(RENEW_S)


if __name__ == "__main__":
    asyncio.run(hold(sys.argv[1], int(sys.argv[2])))
