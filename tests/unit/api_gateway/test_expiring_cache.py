import pytest

from headrace_api_gateway.app.expiring_cache import ExpiringCache
from headrace_core.errors import NotFound


class Far:
    """What is asked: counts the questions, and moves the clock while it answers."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.asked: list[str] = []

    async def load(self, key: str) -> str:
        self.asked.append(key)
        if key == "missing":
            raise NotFound("none")
        self.now_s += 1
        return f"{key}{len(self.asked)}"

    def cache(self, kept_s: float = 5.0, entries_max: int = 10) -> ExpiringCache[str, str]:
        return ExpiringCache(self.load, kept_s, entries_max, lambda: self.now_s)


async def test_an_answer_is_believed_for_its_time_and_asked_again_after_it() -> None:
    far = Far()
    cache = far.cache()
    assert await cache.get("a") == await cache.get("a") == "a1"
    far.now_s += 5
    assert cache.get_fresh("a") is None
    assert await cache.get("a") == "a2"


async def test_the_time_counts_from_the_question_and_not_from_the_answer() -> None:
    far = Far()
    cache = far.cache(kept_s=1.0)
    await cache.get("a")
    assert cache.get_fresh("a") is None


async def test_a_refusal_is_not_kept() -> None:
    far = Far()
    cache = far.cache()
    for _ in range(2):
        with pytest.raises(NotFound):
            await cache.get("missing")
    assert far.asked == ["missing", "missing"]


async def test_nothing_is_known_after_a_clear() -> None:
    far = Far()
    cache = far.cache()
    await cache.get("a")
    cache.clear()
    assert cache.get_fresh("a") is None
