"""When an attempt has to end: once its time is up, or its scheduler has cancelled it."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager


class Interrupted(Exception):
    """What was waited for is cut off; `Limits.cancelled` says why."""


class Limits:
    """Cuts off only what runs inside a section: what was begun outside must be told to its end."""

    def __init__(self, timeout_ms: int) -> None:
        """`timeout_ms` counts from here, 0 for none."""
        self._loop = asyncio.get_running_loop()
        self._end_s = self._loop.time() + timeout_ms / 1_000 if timeout_ms else None
        self._section: asyncio.Timeout | None = None
        self._grace_s = 0.0
        self.cancelled = False

    @property
    def over(self) -> bool:
        return self.cancelled or (self._end_s is not None and self._loop.time() >= self._end_s)

    def left_ms(self) -> int:
        """At least 1; 0 where there is no timeout."""
        if self._end_s is None:
            return 0
        return max(1, int((self._end_s - self._loop.time()) * 1_000))

    def cancel(self) -> None:
        if self.cancelled:
            return
        self.cancelled = True
        section = self._section
        if section is not None and not section.expired():
            end_s = self._loop.time() + self._grace_s
            when_s = section.when()
            section.reschedule(end_s if when_s is None else min(end_s, when_s))

    @asynccontextmanager
    async def section(self, grace_s: float = 0.0) -> AsyncGenerator[None]:
        """Raises Interrupted, at once if the limits are over. After a cancellation what runs
        inside has `grace_s` to end by itself."""
        if self.over:
            raise Interrupted
        section = asyncio.timeout_at(self._end_s)
        self._section, self._grace_s = section, grace_s
        try:
            async with section:
                yield
        except TimeoutError:
            if not section.expired():
                raise
            raise Interrupted from None
        finally:
            self._section = None
