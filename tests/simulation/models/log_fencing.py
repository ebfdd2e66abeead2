"""One partition's log, two owners that fight for it, and a broker that loses and reorders.

Checks that what an owner acts upon is what every reader accepts, and that readers apply each
input once and in order, although a paused owner wakes up late and acknowledgements get lost.

What is abstracted, and why nothing is lost by it
* The lease does not exist: any owner may claim at any time, which is the worst lease possible.
* A request is in flight until it lands or is lost, whoever has crashed since, and requests land in
  any order: a broker connection, its retries and a queue in the client are all of that kind.
* A turn stands for a batch. An owner decides the input after those that it has folded, so an input
  is a number, and "applied twice" and "out of order" are visible in the sequence of numbers.
* Two inputs, three claims and a log of six records hold every pattern of two owners: claim, turn,
  claim, late turn, and one more of each. The same was run with longer logs when it was designed.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

from tests.simulation.models.explore import FAULT, PROGRESS, Broken
from tests.simulation.models.explore import Move as MoveOf

WRONG_INPUTS: Final = "an input is applied twice or out of order"
ACTED_BUT_VOID: Final = "an owner acted on a turn that readers drop"
INPUTS: Final = 2


class Claim(NamedTuple):
    owner: int


class Turn(NamedTuple):
    owner: int
    epoch: int
    seq: int
    input_number: int


Record = Claim | Turn


class Tag(NamedTuple):
    """What connects a request with its acknowledgement."""

    kind: Literal["claim", "turn", "turn again"]
    owner: int
    number: int
    epoch: int


class Request(NamedTuple):
    owner: int
    record: Record
    tag: Tag


class Acknowledgement(NamedTuple):
    owner: int
    tag: Tag
    offset: int


class Accepted(NamedTuple):
    offset: int
    input_number: int


class View(NamedTuple):
    """The fold: the newest claim's epoch, its next seq, and the turns that are accepted."""

    epoch: int | None
    seq: int
    accepted: tuple[Accepted, ...]


class Owner(NamedTuple):
    phase: Literal["idle", "claiming", "owning", "appending"]
    epoch: int = 0
    seq: int = 0
    next_input: int = 0
    expected_offset: int = 0
    tag: Tag | None = None
    folded_before_claim: tuple[int, View] | None = None


IDLE: Final = Owner("idle")


class State(NamedTuple):
    log: tuple[Record, ...] = ()
    owners: tuple[Owner, Owner] = (IDLE, IDLE)
    in_flight: frozenset[Request] = frozenset()
    acknowledgements: tuple[Acknowledgement, ...] = ()
    claims: int = 0
    acted_on: tuple[Accepted, ...] = ()


Move = MoveOf[State]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """The protocol as designed; a negative control turns one rule off or over."""

    log_max: int = 6
    claims_max: int = 3
    epoch_check: bool = True  # readers drop what is not of the newest claim, or not its next seq
    gap_check: bool = True  # an owner looks whether its batch landed where it expected
    read_gap: bool = True  # a gap without a claim in it does not end the ownership
    blind_gap: bool = False  # a gap is passed over without a look at it
    read_before_claim: bool = False  # the state is folded before the own claim has landed
    resend_without_reclaim: bool = False  # a batch of unknown outcome is simply sent again


def fold(log: tuple[Record, ...], epoch_check: bool) -> View:
    """The one filter that all readers share."""
    epoch, seq, accepted = None, 0, ()
    for offset, record in enumerate(log):
        if isinstance(record, Claim):
            epoch, seq = offset, 0
        elif not epoch_check or (record.epoch == epoch and record.seq == seq):
            seq += 1
            accepted += (Accepted(offset, record.input_number),)
    return View(epoch, seq, accepted)


@dataclass(frozen=True, slots=True)
class LogFencing:
    """The model to explore."""

    rules: Rules

    @property
    def initial(self) -> State:
        return State()

    def is_goal(self, state: State) -> bool:
        """Safety alone: whether an owner gets on is the lease's matter, which is not modelled."""
        return True

    def check(self, state: State) -> None:
        accepted = fold(state.log, self.rules.epoch_check).accepted
        inputs = [turn.input_number for turn in accepted]
        if inputs != list(range(len(inputs))):
            raise Broken(WRONG_INPUTS, f"{inputs} in {state.log}")
        offsets = {turn.offset for turn in accepted}
        if any(turn.offset not in offsets for turn in state.acted_on):
            raise Broken(ACTED_BUT_VOID, f"{state.acted_on} in {state.log}")

    def moves(self, state: State) -> Iterator[Move]:
        yield from self.broker_moves(state)
        for number in (0, 1):
            yield from self.owner_moves(state, number)
        yield from self.acknowledgement_moves(state)

    def broker_moves(self, state: State) -> Iterator[Move]:
        # Sorted, because the order of a set would make the exploration differ from run to run.
        for request in sorted(state.in_flight):
            rest = state.in_flight - {request}
            what = f"owner {request.owner}'s {request.tag.kind}"
            if len(state.log) < self.rules.log_max:
                landed = state._replace(log=(*state.log, request.record), in_flight=rest)
                answer = Acknowledgement(request.owner, request.tag, len(state.log))
                answered = landed._replace(acknowledgements=(*state.acknowledgements, answer))
                yield f"{what} lands", answered, PROGRESS
                yield f"{what} lands, its acknowledgement is lost", landed, FAULT
            yield f"{what} is lost", state._replace(in_flight=rest), FAULT

    def owner_moves(self, state: State, number: int) -> Iterator[Move]:
        owner = state.owners[number]
        if owner.phase == "idle":
            if state.claims < self.rules.claims_max:
                yield f"owner {number} claims", self.claim(state, number), PROGRESS
            return
        if owner.phase == "appending" and self.rules.resend_without_reclaim:
            yield from self.resend_moves(state, number)
        yield f"owner {number} crashes or gives up", with_owner(state, number, IDLE), FAULT
        if owner.phase == "owning" and owner.next_input < INPUTS:
            tag = Tag("turn", number, owner.seq, owner.epoch)
            appending = owner._replace(phase="appending", tag=tag)
            yield f"owner {number} appends", send(state, number, appending), PROGRESS

    def claim(self, state: State, number: int) -> State:
        early = None
        if self.rules.read_before_claim:
            early = (len(state.log), fold(state.log, self.rules.epoch_check))
        tag = Tag("claim", number, state.claims, 0)
        claiming = Owner("claiming", tag=tag, folded_before_claim=early)
        return send(state, number, claiming)._replace(claims=state.claims + 1)

    def resend_moves(self, state: State, number: int) -> Iterator[Move]:
        """Control only: what was sent is sent once more, under the same epoch and seq."""
        owner = state.owners[number]
        if owner.tag is None or owner.tag.kind != "turn" or len(state.in_flight) >= 3:
            return
        again = owner._replace(tag=owner.tag._replace(kind="turn again"))
        after = send(state, number, again)
        if after.in_flight != state.in_flight:
            yield f"owner {number} sends its turn again", after, PROGRESS

    def acknowledgement_moves(self, state: State) -> Iterator[Move]:
        for index, answer in enumerate(state.acknowledgements):
            rest = state.acknowledgements[:index] + state.acknowledgements[index + 1 :]
            after = state._replace(acknowledgements=rest)
            yield "an acknowledgement is lost", after, FAULT
            owner = state.owners[answer.owner]
            if owner.tag != answer.tag:
                continue
            if owner.phase == "claiming":
                owning = self.recovered(state, owner, answer.offset)
                label = f"owner {answer.owner} folds up to its claim"
                yield label, with_owner(after, answer.owner, owning), PROGRESS
            elif owner.phase == "appending":
                yield self.appended(after, answer)

    def recovered(self, state: State, owner: Owner, claim_offset: int) -> Owner:
        if owner.folded_before_claim is not None:
            view = owner.folded_before_claim[1]
        else:
            view = fold(state.log[: claim_offset + 1], self.rules.epoch_check)
        return Owner(
            "owning",
            epoch=claim_offset,
            next_input=len(view.accepted),
            expected_offset=claim_offset + 1,
        )

    def appended(self, state: State, answer: Acknowledgement) -> Move:
        owner = state.owners[answer.owner]
        gap = state.log[owner.expected_offset : answer.offset]
        mine = not gap or (self.rules.read_gap and (self.rules.blind_gap or not has_claim(gap)))
        if self.rules.gap_check and not mine:
            return (
                f"owner {answer.owner} is fenced",
                with_owner(state, answer.owner, IDLE),
                PROGRESS,
            )
        owning = Owner(
            "owning",
            epoch=owner.epoch,
            seq=owner.seq + 1,
            next_input=owner.next_input + 1,
            expected_offset=answer.offset + 1,
        )
        acted = (*state.acted_on, Accepted(answer.offset, owner.next_input))
        after = with_owner(state, answer.owner, owning)._replace(acted_on=acted)
        over = " over a gap" if gap else ""
        return f"owner {answer.owner} acts on its turn{over}", after, PROGRESS


def has_claim(records: tuple[Record, ...]) -> bool:
    return any(isinstance(record, Claim) for record in records)


def with_owner(state: State, number: int, owner: Owner) -> State:
    first, second = state.owners
    return state._replace(owners=(owner, second) if number == 0 else (first, owner))


def send(state: State, number: int, owner: Owner) -> State:
    """The owner sends the request that its tag names, and waits."""
    assert owner.tag is not None
    record: Record = Claim(number)
    if owner.phase == "appending":
        record = Turn(number, owner.epoch, owner.seq, owner.next_input)
    request = Request(number, record, owner.tag)
    return with_owner(state, number, owner)._replace(in_flight=state.in_flight | {request})
