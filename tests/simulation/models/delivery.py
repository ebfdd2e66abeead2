"""Messages between two partitions: outbox, watermark, durable acknowledgement, resending.

Partition A holds a parent run. It starts a child in partition B, sends B an unrelated event before
or after the start, and may be cancelled. The child ends by itself or by the cancel, and answers; an
ended child is evicted at once.

What is abstracted, and why nothing is lost by it
* Each partition's log is the fenced log of `log_fencing`: an append of the current epoch is
  accepted when it lands, one of an older epoch is void. A fenced owner therefore is any older
  epoch: what it sent from accepted records may arrive late, what it receives leads to a void turn.
* Delivered messages stay in flight until they are lost, so they repeat, come late, in any order.
  Acknowledgements are watermarks, so that one in flight, the highest, stands for all of them.
* From B to A there is at most one message, the answer; what is numbered from A to B needs three.

Checked: each partition applies exactly the messages that the other's accepted records sent, once,
in order; no child starts twice; a message is acknowledged only when its effect is durable at the
receiver; no child runs on after its cancel was applied. Liveness: without another fault parent and
child end, and both outboxes are empty.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

from tests.simulation.models.explore import FAULT, PROGRESS, Broken
from tests.simulation.models.explore import Move as MoveOf

STARTED_TWICE: Final = "a child is started twice"
NOT_WHAT_WAS_SENT: Final = "applied is not what was sent, once and in order"
NOT_DURABLE: Final = "acknowledged, but not durable at the receiver"
RUNS_ON: Final = "the child runs on after its cancel"

Message = Literal["start", "event", "cancel"]
Answer = Literal["done", "cancelled"]


class Numbered(NamedTuple):
    number: int
    message: Message


class State(NamedTuple):
    """`acked` and `answers_acked` are what the sender has recorded as acknowledged."""

    a_epoch: int = 1
    a_outbox: tuple[Message, ...] = ()
    a_acked: int = 0
    parent: Literal["waiting", "cancelling", "done", "cancelled"] = "waiting"
    to_b: frozenset[Numbered] = frozenset()
    ack_to_a: int = 0
    b_epoch: int = 1
    b_watermark: int = 0
    b_applied: tuple[Message, ...] = ()
    b_half_done: int | Message | None = None  # control: the second record of a delivery is to come
    child: Literal["none", "running", "ended"] = "none"
    b_outbox: tuple[Answer, ...] = ()
    b_acked: int = 0
    answer_in_flight: bool = False
    a_watermark: int = 0
    a_applied: tuple[Answer, ...] = ()
    ack_to_b: bool = False


Move = MoveOf[State]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """The protocol as designed; a negative control turns one rule off."""

    claims: int = 2
    durable_first: bool = True  # a message is sent when the record that made it is accepted
    watermark: bool = True  # a repeat is recognised by its number
    records: Literal["one", "effect first", "watermark first"] = "one"
    in_order: bool = True  # only the number after the watermark is taken
    durable_ack: bool = True
    ack_repeats: bool = True  # a repeat is acknowledged again
    resend: bool = True  # what is not acknowledged is sent again and again
    outbox_folded: bool = True  # the outbox is part of the folded state
    inbox_folded: bool = True  # so is the watermark
    record_unknown: bool = True  # a message to an ended or unknown run is recorded all the same


@dataclass(frozen=True, slots=True)
class Delivery:
    """The model to explore."""

    rules: Rules

    @property
    def initial(self) -> State:
        return State()

    def is_goal(self, state: State) -> bool:
        """The parent may wait before it has sent all; afterwards everything must come to an end."""
        sent, answered = len(state.a_outbox), len(state.b_outbox)
        return (
            state.parent in ("done", "cancelled")
            and state.child != "running"
            and (state.child == "ended" or "start" not in state.a_outbox)
            and state.a_acked == sent == len(state.b_applied)
            and state.b_acked == answered == len(state.a_applied)
        )

    def check(self, state: State) -> None:
        applied, sent = state.b_applied, state.a_outbox
        if applied != sent[: len(applied)]:
            raise Broken(NOT_WHAT_WAS_SENT, f"(applied {applied}, sent {sent})")
        applied_answers, answers = state.a_applied, state.b_outbox
        if applied_answers != answers[: len(applied_answers)]:
            raise Broken(NOT_WHAT_WAS_SENT, f"(applied {applied_answers}, sent {answers})")
        if state.a_acked > len(applied) or state.b_acked > len(applied_answers):
            raise Broken(NOT_DURABLE)
        if "cancel" in applied and state.child == "running":
            raise Broken(RUNS_ON)

    def moves(self, state: State) -> Iterator[Move]:
        yield from self.new_owners(state)
        yield from self.parent_moves(state)
        for item in sorted(state.to_b):
            yield from self.deliveries(state, item)
        yield from self.second_record(state)
        yield from self.outbox_moves(state)
        yield from self.child_moves(state)
        yield from self.answer_moves(state)

    def new_owners(self, state: State) -> Iterator[Move]:
        """A takeover alone changes nothing: all that matters is folded from the log."""
        if state.a_epoch < self.rules.claims:
            after = state._replace(a_epoch=state.a_epoch + 1)
            if not self.rules.outbox_folded:
                after = after._replace(a_outbox=state.a_outbox[: state.a_acked])
            yield "A: new owner", after, FAULT
        if state.b_epoch < self.rules.claims:
            after = state._replace(b_epoch=state.b_epoch + 1, b_half_done=None)
            if not self.rules.inbox_folded:
                after = after._replace(b_watermark=0)
            yield "B: new owner", after, FAULT

    def parent_moves(self, state: State) -> Iterator[Move]:
        if state.parent == "cancelling":
            yield "A: cancel grace over", state._replace(parent="cancelled"), PROGRESS
        if state.parent != "waiting":
            return
        outbox = state.a_outbox
        unsent: list[Message] = [message for message in FREE_MESSAGES if message not in outbox]
        for message in unsent:
            yield f"A sends {message}", sent(state, message), PROGRESS
        if not self.rules.durable_first and state.a_epoch > 1:
            for message in unsent:
                void = state.to_b | {Numbered(len(outbox) + 1, message)}
                if void != state.to_b:
                    label = f"A: fenced owner sends {message} of a void turn"
                    yield label, state._replace(to_b=void), FAULT
        if "event" not in unsent:
            if "start" in unsent:
                yield "A cancels", state._replace(parent="cancelled"), FAULT
            else:
                after = sent(state._replace(parent="cancelling"), "cancel")
                yield "A cancels the child", after, FAULT

    def deliveries(self, state: State, item: Numbered) -> Iterator[Move]:
        label = f"B: {item.number} {item.message}"
        if state.b_half_done is None:
            yield from self.delivered(state, item, label)
        if not self.rules.durable_ack and state.b_epoch > 1:
            early = state._replace(ack_to_a=max(state.ack_to_a, item.number))
            label = f"B: fenced owner acknowledges {item.number} {item.message}"
            yield label, early, FAULT
        lost = state._replace(to_b=state.to_b - {item})
        yield f"{item.number} {item.message} lost", lost, FAULT

    def delivered(self, state: State, item: Numbered, label: str) -> Iterator[Move]:
        """What B's current owner does with a message that is there."""
        number, message = item
        is_repeat = number <= state.b_watermark
        by_child = not self.rules.watermark and message == "start" and state.child != "running"
        if is_repeat and by_child:  # control: a repeated start is recognised by the child that runs
            yield f"{label} applied", acknowledged(b_applies(state, message)), PROGRESS
        elif is_repeat:
            if self.rules.ack_repeats:
                yield f"{label} repeat acknowledged", acknowledged(state), PROGRESS
        elif number == state.b_watermark + 1 or not self.rules.in_order:
            is_unknown = message == "cancel" and state.child != "running"
            if is_unknown and not self.rules.record_unknown:
                return
            match self.rules.records:
                case "one":
                    after = b_applies(state, message)._replace(b_watermark=number)
                    yield f"{label} applied", acknowledged(after), PROGRESS
                case "effect first":
                    after = b_applies(state, message)._replace(b_half_done=number)
                    yield f"{label} effect recorded", after, PROGRESS
                case "watermark first":
                    after = state._replace(b_watermark=number, b_half_done=message)
                    yield f"{label} watermark recorded", after, PROGRESS

    def second_record(self, state: State) -> Iterator[Move]:
        """Control only: effect and watermark stand in two records."""
        rest = state.b_half_done
        if rest is None:
            return
        after = state._replace(b_half_done=None)
        if isinstance(rest, int):
            after = after._replace(b_watermark=rest)
        else:
            after = b_applies(after, rest)
        yield "B: second record", acknowledged(after), PROGRESS

    def outbox_moves(self, state: State) -> Iterator[Move]:
        if self.rules.resend:
            for number, message in enumerate(state.a_outbox[state.a_acked :], state.a_acked + 1):
                again = state.to_b | {Numbered(number, message)}
                if again != state.to_b:
                    yield f"A sends {number} again", state._replace(to_b=again), PROGRESS
        if state.ack_to_a:
            recorded = state._replace(a_acked=max(state.a_acked, state.ack_to_a))
            yield "A records the acknowledgement", recorded, PROGRESS
            yield "acknowledgement lost", state._replace(ack_to_a=0), FAULT

    def child_moves(self, state: State) -> Iterator[Move]:
        if state.child == "running" and state.b_half_done is None:
            yield "B: child ends", ended(state, "done"), PROGRESS

    def answer_moves(self, state: State) -> Iterator[Move]:
        if state.b_outbox and state.answer_in_flight:
            if state.a_watermark:
                if self.rules.ack_repeats:
                    again = state._replace(ack_to_b=True)
                    yield "A: repeated answer acknowledged", again, PROGRESS
            elif state.parent in ("waiting", "cancelling") or self.rules.record_unknown:
                yield "A: answer applied", answer_applied(state), PROGRESS
            yield "answer lost", state._replace(answer_in_flight=False), FAULT
        elif state.b_outbox and not state.b_acked and self.rules.resend:
            yield "B sends the answer (again)", state._replace(answer_in_flight=True), PROGRESS
        if state.ack_to_b:
            yield "B records the acknowledgement", state._replace(b_acked=1), PROGRESS
            yield "acknowledgement of the answer lost", state._replace(ack_to_b=False), FAULT


FREE_MESSAGES: Final[tuple[Message, ...]] = ("start", "event")


def sent(state: State, message: Message) -> State:
    """One accepted record: the message is in the outbox, and leaves in the record's wake."""
    outbox = (*state.a_outbox, message)
    return state._replace(a_outbox=outbox, to_b=state.to_b | {Numbered(len(outbox), message)})


def acknowledged(state: State) -> State:
    return state._replace(ack_to_a=max(state.ack_to_a, state.b_watermark))


def ended(state: State, answer: Answer) -> State:
    return state._replace(child="ended", b_outbox=(*state.b_outbox, answer), answer_in_flight=True)


def b_applies(state: State, message: Message) -> State:
    after = state._replace(b_applied=(*state.b_applied, message))
    if message == "start":
        if "start" in state.b_applied:
            raise Broken(STARTED_TWICE)
        return after._replace(child="running")
    if message == "cancel" and state.child == "running":
        return ended(after, "cancelled")
    return after


def answer_applied(state: State) -> State:
    """An answer to a parent that has already ended is recorded and changes nothing else."""
    parent = state.parent
    if parent == "waiting":
        parent = "done"
    elif parent == "cancelling":
        parent = "cancelled"
    applied = (*state.a_applied, state.b_outbox[0])
    return state._replace(parent=parent, a_applied=applied, a_watermark=1, ack_to_b=True)
