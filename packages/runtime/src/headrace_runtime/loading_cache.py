"""A bounded cache whose entries are loaded once, however many ask at the same time."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Hashable
from typing import Any, Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class LoadingCache(Generic[Key, Value]):
    """Keeps the `entries_max` entries used last. A load that failed is not kept: the next call
    loads again."""

    def __init__(self, load: Callable[[Key], Coroutine[Any, Any, Value]], entries_max: int) -> None:
        self._load = load
        self._entries_max = entries_max
        self._entries: OrderedDict[Key, Value] = OrderedDict()
        self._loading: dict[Key, asyncio.Task[Value]] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def get_cached(self, key: Key) -> Value | None:
        value = self._entries.get(key)
        if value is not None:
            self._entries.move_to_end(key)
        return value

    async def get(self, key: Key) -> Value:
        """Raises what the load raised. A caller that is cancelled does not cancel the others."""
        cached = self.get_cached(key)
        if cached is not None:
            return cached
        loading = self._loading.get(key)
        if loading is None:
            loading = asyncio.create_task(self._load(key))
            self._loading[key] = loading
            loading.add_done_callback(lambda done: self._loaded(key, done))
        return await asyncio.shield(loading)

    def values(self) -> list[Value]:
        """A copy, in order of last use."""
        return list(self._entries.values())

    def put(self, key: Key, value: Value) -> None:
        self._entries[key] = value
        self._entries.move_to_end(key)
        while len(self._entries) > self._entries_max:
            self._entries.popitem(last=False)

    def forget(self, key: Key) -> None:
        """Also a load that is under way will not be kept."""
        self._entries.pop(key, None)
        self._loading.pop(key, None)

    def _loaded(self, key: Key, done: asyncio.Task[Value]) -> None:
        if self._loading.get(key) is not done:
            return
        del self._loading[key]
        # Asking for the exception also marks it as seen if every caller was cancelled.
        if not done.cancelled() and done.exception() is None:
            self.put(key, done.result())
