"""Asking again and again what is away."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from headrace_core.errors import Unavailable

RETRY_FIRST_S, RETRY_MAX_S = 0.05, 1.0

Value = TypeVar("Value")


async def when_available(ask: Callable[[], Awaitable[Value]]) -> Value:
    """Without end of its own: the attempt's limits end it, or nothing may."""
    delay_s = RETRY_FIRST_S
    while True:
        try:
            return await ask()
        except Unavailable:
            await asyncio.sleep(delay_s)
            delay_s = min(RETRY_MAX_S, 2 * delay_s)
