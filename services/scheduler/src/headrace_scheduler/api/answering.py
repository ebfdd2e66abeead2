"""The sending half of a stream that others open: what there is to say, while they are there."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeVar

Message = TypeVar("Message")


async def messages_until(
    next_message: Callable[[], Awaitable[Message]], *ends: asyncio.Task[Any]
) -> AsyncIterator[Message]:
    """One after another, until any of `ends` is done."""
    while not any(end.done() for end in ends):
        sending = asyncio.ensure_future(next_message())
        done, _ = await asyncio.wait((sending, *ends), return_when=asyncio.FIRST_COMPLETED)
        if sending not in done:
            sending.cancel()
            return
        yield sending.result()
