"""The runs that the projector holds in memory, over all partitions.

A run that ended leaves with its flush. Open runs that wait stay until there are too many; the one
that was quiet for longest leaves first and is loaded again with its next turn.
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
        self._rest(open_run)

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
        if open_run.turns:
            return
        run = open_run.row.run
        if open_run.row.ended:
            del self.runs[run]
            return
        self._rest(open_run)

    def _rest(self, open_run: OpenRun) -> None:
        self._quiet[open_run.row.run] = open_run
        if len(self._quiet) > self._quiet_runs_max:
            oldest = next(iter(self._quiet))
            del self._quiet[oldest], self.runs[oldest]
