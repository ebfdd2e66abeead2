"""Where inputs gather while a pass is under way; they are the next batch."""

import asyncio
from collections import deque

from headrace_scheduler.app.inputs import Input


class Inbox:
    def __init__(self) -> None:
        self._inputs: deque[Input] = deque()
        self._wake = asyncio.Event()

    def __len__(self) -> int:
        return len(self._inputs)

    def put(self, incoming: Input) -> None:
        self._inputs.append(incoming)
        self._wake.set()

    def pop(self) -> Input:
        return self._inputs.popleft()

    def wake(self) -> None:
        """There may be work without an input: credit has come, or a timer."""
        self._wake.set()

    async def wait(self) -> None:
        """Until there is an input or somebody woke the loop."""
        if not self._inputs:
            await self._wake.wait()
        self._wake.clear()
