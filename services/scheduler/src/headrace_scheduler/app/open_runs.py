"""The open runs of a partition, most of which sleep: they wait for a time, a person or a message.

A run is put to sleep when a checkpoint freezes it anyway, and kept as those bytes, compressed
against a typical run: a tenth of what its objects take. Whoever asks for it wakes it.
"""

from collections.abc import Iterable, Iterator, Sequence

import zstandard

from headrace_core.ids import RunId
from headrace_core.run.freeze import frozen_sleeper, thaw_run
from headrace_core.run.state import RunState

COMPRESSION_LEVEL = 1


_DICTIONARY = zstandard.ZstdCompressionDict(frozen_sleeper())
_compress = zstandard.ZstdCompressor(COMPRESSION_LEVEL, dict_data=_DICTIONARY).compress
_decompress = zstandard.ZstdDecompressor(dict_data=_DICTIONARY).decompress


class OpenRuns:
    """By id, in no particular order. Who takes a run to change it asks by `get`."""

    __slots__ = ("_asleep", "_awake")

    def __init__(self, awake: Iterable[RunState] = ()) -> None:
        self._awake = {run.run_id: run for run in awake}
        self._asleep: dict[RunId, bytes] = {}

    def __len__(self) -> int:
        return len(self._awake) + len(self._asleep)

    def __contains__(self, run: RunId) -> bool:
        return run in self._awake or run in self._asleep

    def get(self, run: RunId) -> RunState | None:
        """Awake from now on. Raises UnknownEvent for what this version cannot have frozen."""
        found = self._awake.get(run)
        if found is None:
            frozen = self._asleep.pop(run, None)
            if frozen is None:
                return None
            found = self._awake[run] = thaw_run(_decompress(frozen))
        return found

    def add(self, run: RunState) -> None:
        """A new run, or another state of a known one."""
        self._asleep.pop(run.run_id, None)
        self._awake[run.run_id] = run

    def pop(self, run: RunId) -> RunState | None:
        found = self.get(run)
        if found is not None:
            del self._awake[run]
        return found

    def awake(self) -> Sequence[RunState]:
        """Every run with a step that is ready or running is among these."""
        return tuple(self._awake.values())

    def asleep(self) -> Iterator[RunState]:
        """Copies to look at: the runs sleep on."""
        for frozen in tuple(self._asleep.values()):
            yield thaw_run(_decompress(frozen))

    def let_sleep(self, run: RunId, frozen: bytes) -> None:
        """`frozen` is its present state. A run that an executor works on stays awake: nobody may
        hold on to its state beside this table."""
        if run in self._awake and not self._awake[run].active:
            del self._awake[run]
            # A copy: the compressor's own answer keeps the room that it was written into.
            self._asleep[run] = bytes(memoryview(_compress(frozen)))

    def kept_bytes(self, run: RunId) -> int | None:
        """What a sleeping run's state takes; None for one that is awake or not here."""
        frozen = self._asleep.get(run)
        return len(frozen) if frozen is not None else None
