"""Waits for the end of a run."""

import asyncio

from headrace_core.ids import RunId, TenantId
from headrace_history.app.live import Live
from headrace_history.app.replayer import Replayer

WAIT_S_MAX = 60.0


class EndWait:
    def __init__(self, replayer: Replayer, live: Live) -> None:
        self._replayer = replayer
        self._live = live

    async def wait(self, tenant: TenantId, run: RunId, wait_s: float) -> None:
        """Until the run has ended, or `wait_s` has passed. Raises NotFound."""
        # Registered before the first look, so that an end in between is not missed.
        with self._live.await_end(run) as ended:
            row = await self._replayer.row(tenant, run)
            if row.ended:
                return
            try:
                async with asyncio.timeout(min(wait_s, WAIT_S_MAX)):
                    await ended
            except TimeoutError:
                return
