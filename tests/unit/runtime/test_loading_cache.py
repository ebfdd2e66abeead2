"""A cache that loads each entry once, bounded, and never keeps a failure."""

import asyncio

import pytest

from headrace_runtime.loading_cache import LoadingCache


class Loads:
    """A slow load: it ends when the test says so."""

    def __init__(self) -> None:
        self.keys: list[str] = []
        self.go = asyncio.Event()
        self.fails = False

    async def load(self, key: str) -> str:
        self.keys.append(key)
        await self.go.wait()
        if self.fails:
            raise LookupError(key)
        return key.upper()


async def test_many_who_ask_at_once_share_one_load() -> None:
    loads = Loads()
    cache = LoadingCache(loads.load, 10)
    asking = [asyncio.create_task(cache.get("a")) for _ in range(5)]
    await asyncio.sleep(0)
    loads.go.set()
    assert await asyncio.gather(*asking) == ["A"] * 5
    assert await cache.get("a") == "A"
    assert loads.keys == ["a"]


async def test_one_who_gives_up_does_not_take_the_load_from_the_others() -> None:
    loads = Loads()
    cache = LoadingCache(loads.load, 10)
    first, second = (asyncio.create_task(cache.get("a")) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.sleep(0)
    loads.go.set()
    assert await second == "A"
    assert loads.keys == ["a"]


async def test_a_failed_load_is_told_to_all_and_tried_again() -> None:
    loads = Loads()
    loads.go.set()
    loads.fails = True
    cache = LoadingCache(loads.load, 10)
    for _ in range(2):
        with pytest.raises(LookupError):
            await cache.get("a")
    loads.fails = False
    assert await cache.get("a") == "A"
    assert loads.keys == ["a", "a", "a"]


async def test_the_entry_used_longest_ago_is_dropped() -> None:
    loads = Loads()
    loads.go.set()
    cache = LoadingCache(loads.load, 2)
    await cache.get("a")
    await cache.get("b")
    assert cache.get_cached("a") == "A"
    await cache.get("c")
    assert cache.get_cached("b") is None
    assert (cache.get_cached("a"), cache.get_cached("c")) == ("A", "C")


async def test_a_load_that_was_under_way_when_forgotten_is_not_kept() -> None:
    loads = Loads()
    cache = LoadingCache(loads.load, 2)
    asking = asyncio.create_task(cache.get("a"))
    await asyncio.sleep(0)
    cache.forget("a")
    loads.go.set()
    assert await asking == "A"
    assert cache.get_cached("a") is None
