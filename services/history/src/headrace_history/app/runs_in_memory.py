"""The runs that the projector holds in memory, over all partitions.

A run that ended leaves after its flush. Open runs that wait stay until there are too many; the
one that was quiet for longest leaves first and is loaded again with its next turn.
"""

from headrace_core.ids import RunId
from headrace_history.app.open_run import OpenRun
from headrace_history.domain.projections.journal import CHUNK_EVENTS_MAX


class RunsInMemory:
    def __init__(self, quiet_runs_max: int) -> None:
        self.runs: dict[RunId, OpenRun] = {}
        self.due: dict[RunId, OpenRun] = {}
        self.bytes = 0
        self._quiet: dict[RunId, OpenRun] = {}
        self._quiet_runs_max = quiet_runs_max

    def add(self, open_run: OpenRun) -> OpenRun:
        self.runs[open_run.row.run] = open_run
        return open_run

    def add_loaded(self, open_run: OpenRun) -> None:
        """A run from the projections; it leaves again if no turn follows."""
        self.add(open_run)
        self._quiet[open_run.row.run] = open_run

    def took(self, open_run: OpenRun, size: int) -> None:
        """A turn was added; a run that ended or has filled a chunk is due at the next flush."""
        self.bytes += size
        if open_run.events >= CHUNK_EVENTS_MAX or open_run.row.ended_ms is not None:
            self.due[open_run.row.run] = open_run

    def stir(self, run: RunId) -> None:
        """The run has turns again that are not written."""
        self._quiet.pop(run, None)

    def written(self, open_run: OpenRun) -> None:
        """A flush with this run has committed."""
        self.bytes -= open_run.written()
        if not open_run.turns:
            self._quiet[open_run.row.run] = open_run

    def trim(self) -> None:
        """Let go of runs. Only the reader of the log calls this, before it looks which runs of a
        batch are here: one that left while others are loaded would be taken for a new one."""
        for run in [run for run, open_run in self._quiet.items() if open_run.row.ended]:
            del self._quiet[run], self.runs[run]
        while len(self._quiet) > self._quiet_runs_max:
            oldest = next(iter(self._quiet))
            del self._quiet[oldest], self.runs[oldest]
