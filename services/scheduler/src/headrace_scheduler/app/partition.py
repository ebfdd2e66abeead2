"""A partition that this process owns: its folded state and its place in the log."""

from dataclasses import dataclass, field

from headrace_core.ids import RunId, TenantId
from headrace_core.log.chain import chain_hash
from headrace_core.log.record import Envelope
from headrace_core.partition.apply import set_chain as set_partition_chain
from headrace_core.partition.apply import set_time as set_partition_time
from headrace_core.partition.state import PartitionState, StartKey
from headrace_core.run.apply import set_chain
from headrace_core.run.state import RunState
from headrace_scheduler.app.inputs import Input
from headrace_scheduler.app.open_runs import OpenRuns

NO_TENANT = TenantId("")


@dataclass(slots=True)
class OwnedPartition:
    """`next_seq` and `next_offset` are those of the next record. `dirty` runs have changed since
    the checkpoint, `ended` ones are gone since then; both wait for the next snapshot."""

    number: int
    log_id: bytes
    epoch: int
    next_offset: int
    state: PartitionState
    next_seq: int = 0
    runs: OpenRuns = field(default_factory=OpenRuns)
    first_offsets: dict[RunId, int] = field(default_factory=dict[RunId, int])
    dirty: set[RunId] = field(default_factory=set[RunId])
    ended: set[RunId] = field(default_factory=set[RunId])
    new_start_keys: list[tuple[bytes, StartKey]] = field(
        default_factory=list[tuple[bytes, StartKey]]
    )
    parking: dict[RunId, list[Input]] = field(default_factory=dict[RunId, list[Input]])
    checkpoint_offset: int = -1

    def seal_run_record(self, run: RunState, sequence: int, time_ms: int, body: bytes) -> Envelope:
        """Envelope of the run's next record; the run's chain and the partition's time move on."""
        chain = chain_hash(run.chain, run.tenant, run.run_id, sequence, time_ms, body)
        set_chain(run, chain)
        set_partition_time(self.state, time_ms)
        return Envelope(
            log_id=self.log_id,
            partition=self.number,
            epoch=self.epoch,
            seq=self._take_seq(),
            time_ms=time_ms,
            tenant=run.tenant,
            run=run.run_id,
            sequence=sequence,
            chain=chain,
        )

    def seal_partition_record(self, time_ms: int, body: bytes) -> Envelope:
        chain = chain_hash(self.state.chain, "", "", 0, time_ms, body)
        set_partition_chain(self.state, chain)
        set_partition_time(self.state, time_ms)
        return Envelope(
            log_id=self.log_id,
            partition=self.number,
            epoch=self.epoch,
            seq=self._take_seq(),
            time_ms=time_ms,
            tenant=NO_TENANT,
            run=None,
            sequence=0,
            chain=chain,
        )

    def _take_seq(self) -> int:
        seq = self.next_seq
        self.next_seq += 1
        return seq
