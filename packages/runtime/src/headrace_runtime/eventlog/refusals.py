"""What every engine refuses in the same words."""

from collections.abc import Sequence

from headrace_core.errors import LogRewound, RangeDeleted, RecordTooLarge
from headrace_core.log.record import RECORD_BYTES_MAX
from headrace_runtime.eventlog.port import Batch


def check_batches(batches: Sequence[Batch], partitions: int) -> None:
    """Raises RecordTooLarge, and AssertionError for what no owner may ask for."""
    seen: set[int] = set()
    for batch in batches:
        assert 0 <= batch.partition < partitions, f"no partition {batch.partition} of {partitions}"
        assert batch.partition not in seen, "at most one batch per partition"
        assert batch.epoch >= 0, "nothing is appended without a claim"
        assert batch.records, "a batch holds at least one record"
        seen.add(batch.partition)
        for record in batch.records:
            check_size(batch.partition, record)


def check_size(partition: int, record: bytes) -> None:
    """Before anything is sent."""
    if len(record) > RECORD_BYTES_MAX:
        raise RecordTooLarge(
            f"a record of {len(record)} bytes for partition {partition} is above the limit of "
            f"{RECORD_BYTES_MAX}: nothing was stored"
        )


def range_deleted(partition: int, offset: int, first: int) -> RangeDeleted:
    return RangeDeleted(
        f"partition {partition} begins at offset {first}, {offset} is deleted: go on from a newer "
        "checkpoint or from the archive"
    )


def rewound(partition: int, offset: int, end: int) -> LogRewound:
    return LogRewound(
        f"partition {partition} ends at offset {end}, but offset {offset} was there before: the "
        "log was restored from an older copy. Rebuild what was made from it."
    )
