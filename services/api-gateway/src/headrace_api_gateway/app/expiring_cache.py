"""A cache whose entries are believed for a short time, and loaded once for all who ask."""

from collections.abc import Callable, Coroutine, Hashable
from typing import Any, Generic, TypeVar

from headrace_runtime.loading_cache import LoadingCache

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class ExpiringCache(Generic[Key, Value]):
    """`now_s` is a clock that never steps back."""

    def __init__(
        self,
        load: Callable[[Key], Coroutine[Any, Any, Value]],
        kept_s: float,
        entries_max: int,
        now_s: Callable[[], float],
    ) -> None:
        self._load = load
        self._kept_s = kept_s
        self._now_s = now_s
        self._entries_max = entries_max
        self._entries: LoadingCache[Key, tuple[Value, float]]
        self._entries = LoadingCache(self._load_with_time, entries_max)

    def get_fresh(self, key: Key) -> Value | None:
        entry = self._entries.get_cached(key)
        if entry is None:
            return None
        value, until_s = entry
        if self._now_s() < until_s:
            return value
        self._entries.forget(key)
        return None

    async def get(self, key: Key) -> Value:
        """Raises what the load raised."""
        value = self.get_fresh(key)
        return value if value is not None else (await self._entries.get(key))[0]

    def clear(self) -> None:
        self._entries = LoadingCache(self._load_with_time, self._entries_max)

    async def _load_with_time(self, key: Key) -> tuple[Value, float]:
        # The time of the question counts, not that of the answer.
        until_s = self._now_s() + self._kept_s
        return await self._load(key), until_s
