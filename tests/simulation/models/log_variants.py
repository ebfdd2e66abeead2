"""Log fencing, delivery between partitions and snapshots: as designed, and with one rule off."""

from dataclasses import replace

from tests.simulation.models import delivery, log_fencing, snapshots
from tests.simulation.models.delivery import Delivery
from tests.simulation.models.explore import LIVENESS
from tests.simulation.models.log_fencing import LogFencing
from tests.simulation.models.snapshots import Snapshots
from tests.simulation.models.variant import Control, Rule

LOG = log_fencing.Rules()
LOG_RULES = [
    Rule(
        name="log: a gap without a claim in it is read and survived",
        model=LogFencing(LOG),
        states=112_418,
        sometimes=(
            "owner 0 is fenced",
            "owner 1 acts on its turn over a gap",
            "owner 1's turn lands, its acknowledgement is lost",
        ),
    ),
    Rule(
        name="log: stricter, any gap ends the ownership",
        model=LogFencing(replace(LOG, read_gap=False)),
        states=100_426,
        sometimes=("owner 0 is fenced", "owner 1 is fenced"),
    ),
]
LOG_CONTROLS = [
    Control(
        name="log: gap passed over without reading it",
        model=LogFencing(replace(LOG, blind_gap=True)),
        breaks=log_fencing.ACTED_BUT_VOID,
        expanded=2_103,
        states=4_029,
    ),
    Control(
        name="log: readers do not check the epoch",
        model=LogFencing(replace(LOG, epoch_check=False)),
        breaks=log_fencing.WRONG_INPUTS,
        expanded=6_416,
        states=11_274,
    ),
    Control(
        name="log: effects on the acknowledgement, no look at the offset",
        model=LogFencing(replace(LOG, gap_check=False)),
        breaks=log_fencing.ACTED_BUT_VOID,
        expanded=2_103,
        states=4_029,
    ),
    Control(
        name="log: state read before the own claim has landed",
        model=LogFencing(replace(LOG, read_before_claim=True)),
        breaks=log_fencing.WRONG_INPUTS,
        expanded=10_528,
        states=19_047,
    ),
    Control(
        name="log: same epoch and seq sent again after a timeout",
        model=LogFencing(replace(LOG, resend_without_reclaim=True)),
        breaks=log_fencing.ACTED_BUT_VOID,
        expanded=2_373,
        states=4_905,
    ),
    Control(
        name="log: sent again, and no look at the offset",
        model=LogFencing(replace(LOG, resend_without_reclaim=True, gap_check=False)),
        breaks=log_fencing.ACTED_BUT_VOID,
        expanded=2_217,
        states=4_538,
    ),
]

MESSAGES = delivery.Rules()
MESSAGES_SOMETIMES = (
    "B: 1 start repeat acknowledged",
    "B: 3 cancel applied",
    "A: repeated answer acknowledged",
    "A: cancel grace over",
)
DELIVERY_RULES = [
    Rule(
        name="messages: as specified",
        model=Delivery(MESSAGES),
        states=23_196,
        sometimes=MESSAGES_SOMETIMES,
    ),
    Rule(
        name="messages: three claims of each side",
        model=Delivery(replace(MESSAGES, claims=3)),
        states=52_191,
        sometimes=MESSAGES_SOMETIMES,
    ),
]
DELIVERY_CONTROLS = [
    Control(
        name="messages: sent before the record is accepted",
        model=Delivery(replace(MESSAGES, durable_first=False)),
        breaks=delivery.NOT_WHAT_WAS_SENT,
        states=105,
    ),
    Control(
        name="messages: no watermark, a repeat is recognised by the child that is there",
        model=Delivery(replace(MESSAGES, watermark=False)),
        breaks=delivery.STARTED_TWICE,
        states=109,
    ),
    Control(
        name="messages: effect and watermark in two records, effect first",
        model=Delivery(replace(MESSAGES, records="effect first")),
        breaks=delivery.STARTED_TWICE,
        states=96,
    ),
    Control(
        name="messages: effect and watermark in two records, watermark first",
        model=Delivery(replace(MESSAGES, records="watermark first")),
        breaks=delivery.NOT_DURABLE,
        states=453,
    ),
    Control(
        name="messages: a gap in the numbers is accepted",
        model=Delivery(replace(MESSAGES, in_order=False)),
        breaks=delivery.NOT_WHAT_WAS_SENT,
        states=112,
    ),
    Control(
        name="messages: acknowledged before the record is accepted",
        model=Delivery(replace(MESSAGES, durable_ack=False)),
        breaks=delivery.NOT_DURABLE,
        states=235,
    ),
    Control(
        name="messages: a repeat is not acknowledged again",
        model=Delivery(replace(MESSAGES, ack_repeats=False)),
        breaks=LIVENESS,
        states=23_196,
    ),
    Control(
        name="messages: not sent again",
        model=Delivery(replace(MESSAGES, resend=False)),
        breaks=LIVENESS,
        states=23_196,
    ),
    Control(
        name="messages: outbox is not part of the folded state",
        model=Delivery(replace(MESSAGES, outbox_folded=False)),
        breaks=delivery.NOT_WHAT_WAS_SENT,
        states=114,
    ),
    Control(
        name="messages: watermark is not part of the folded state",
        model=Delivery(replace(MESSAGES, inbox_folded=False)),
        breaks=delivery.STARTED_TWICE,
        states=108,
    ),
    Control(
        name="messages: one to an ended run is refused and not recorded",
        model=Delivery(replace(MESSAGES, record_unknown=False)),
        breaks=LIVENESS,
        states=17_052,
    ),
]

STORED = snapshots.Rules()
SNAPSHOT_RULES = [
    Rule(
        name="snapshots: newer than the checkpoint, rows of all ended runs deleted with it",
        model=Snapshots(STORED),
        states=195_349,
        sometimes=(
            "owner 0 appends tick, void",
            "owner 1 writes the checkpoint at 4",
            "owner 0 writes the run's row at 2",
            "owner 1 finds its tail deleted",
        ),
    ),
]
SNAPSHOT_CONTROLS = [
    Control(
        name="snapshots: each row only newer than itself",
        model=Snapshots(replace(STORED, newer_than="row")),
        breaks=snapshots.RECOVERS_WRONGLY,
        states=25_581,
    ),
    Control(
        name="snapshots: no comparison",
        model=Snapshots(replace(STORED, newer_than="nothing")),
        breaks=snapshots.TAIL_DELETED,
        states=13_619,
    ),
    Control(
        name="snapshots: of a turn that is not acknowledged",
        model=Snapshots(replace(STORED, acked_only=False)),
        breaks=snapshots.RECOVERS_WRONGLY,
        states=524,
    ),
    Control(
        name="snapshots: tail applied to the run from the checkpoint's offset, not its own",
        model=Snapshots(replace(STORED, own_offset=False)),
        breaks=snapshots.RECOVERS_WRONGLY,
        states=1_315,
    ),
    Control(
        name="snapshots: rows of ended runs deleted only if the writer knows of them",
        model=Snapshots(replace(STORED, delete_rows="known")),
        breaks=snapshots.RECOVERS_WRONGLY,
        states=25_206,
    ),
    Control(
        name="snapshots: rows of ended runs deleted before the checkpoint",
        model=Snapshots(replace(STORED, delete_rows="before checkpoint")),
        breaks=snapshots.UNKNOWN_RUN,
        states=1_307,
    ),
    Control(
        name="snapshots: checkpoint without the rows of runs that changed",
        model=Snapshots(replace(STORED, rows_first=False)),
        breaks=snapshots.RECOVERS_WRONGLY,
        states=86,
    ),
    Control(
        name="snapshots: rows and checkpoint loaded in two transactions",
        model=Snapshots(replace(STORED, one_load=False)),
        breaks=snapshots.OWNER_RECOVERED_WRONGLY,
        states=8_678,
    ),
    Control(
        name="snapshots: tail deleted while recovering, reader goes on where the log begins",
        model=Snapshots(replace(STORED, whole_tail=False)),
        breaks=snapshots.OWNER_RECOVERED_WRONGLY,
        states=7_662,
    ),
    Control(
        name="snapshots: checkpoint without epoch and seq",
        model=Snapshots(replace(STORED, filter_state=False)),
        breaks=snapshots.RECOVERS_WRONGLY,
        states=101,
    ),
    Control(
        name="snapshots: range deleted when the open runs' rows are newer",
        model=Snapshots(replace(STORED, retention="run rows")),
        breaks=snapshots.TAIL_DELETED,
        states=341,
    ),
]
