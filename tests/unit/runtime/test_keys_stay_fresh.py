"""The loop that refreshes payload keys outlives its database."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

from headrace_core.ids import TenantId
from headrace_runtime.blobs import LocalBlobs
from headrace_runtime.clock import SystemClock
from headrace_runtime.keys import DataKey
from headrace_runtime.sealing import Keyring
from tests.support.tenant_keys import KeysInMemory


class LostDatabase(KeysInMemory):
    """Answers as a pool does whose server was killed, until it is back."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0
        self.back = asyncio.Event()

    async def of_tenants(self, tenants: Sequence[TenantId], above_id: int = 0) -> Sequence[DataKey]:
        self.asked += 1
        if self.asked <= 2:
            raise ConnectionRefusedError("the server was killed")
        self.back.set()
        return []


async def test_a_database_that_is_away_does_not_end_the_loop(tmp_path: Path) -> None:
    database = LostDatabase()
    keyring = Keyring(database, LocalBlobs(tmp_path), SystemClock())
    loop = asyncio.create_task(keyring.keep_fresh(interval_s=0.001))
    async with asyncio.timeout(10):
        await database.back.wait()
    assert database.asked >= 3 and not loop.done()
    loop.cancel()
