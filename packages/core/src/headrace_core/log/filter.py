"""The one filter through which every reader sees the log.

All readers come to the same answer, because the log is totally ordered: a record counts if its
epoch is the newest claim's and its seq is the next one. Checked exhaustively, with negative
controls, by the tests' log fencing model.
"""

from dataclasses import dataclass

from headrace_core.errors import WrongLog
from headrace_core.log.record import Envelope


@dataclass(slots=True)
class LogFilter:
    """State of the filter; part of every watermark and snapshot. `epoch` -1 before any claim."""

    log_id: bytes
    epoch: int = -1
    next_seq: int = 0

    def accept(self, offset: int, envelope: Envelope) -> bool:
        """Whether this record counts. Claims are never folded, but they move the filter.

        Raises WrongLog when the record was written to another log.
        """
        if envelope.log_id != self.log_id:
            raise WrongLog(
                f"offset {offset} of partition {envelope.partition} belongs to log "
                f"{envelope.log_id.hex()}, this reader follows {self.log_id.hex()}: "
                "point it at its own log, or rebuild it from this one"
            )
        if envelope.claim:
            self.epoch = offset
            self.next_seq = 0
            return False
        if self.epoch < 0 or envelope.epoch != self.epoch or envelope.seq != self.next_seq:
            return False
        self.next_seq += 1
        return True
