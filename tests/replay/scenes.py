"""What no case of a flow leads to, played over several partitions: a golden of each run, and one
of each partition's own events.

A new kind of event or message that no golden holds needs a scene here, or a case of a flow; then
`python -m tests.replay.record`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from headrace_core.ids import (
    DAY_MS,
    LetterId,
    PlanHash,
    RunId,
    StepKey,
    letter_id,
    partition_of,
    run_id,
    slot_for,
    slot_of,
    stable_hash,
)
from headrace_core.partition.events import PartitionClaimed, PartitionEvent
from headrace_core.payload import NOTHING, Stored
from headrace_core.run.events import RunForked, StepError
from headrace_core.run.fork import ForkEdits, inherit, plan_fork
from headrace_core.run.freeze import state_hash
from headrace_core.run.status import CancelCause, Repair
from headrace_core.workflow.firing import Overlap
from headrace_core.workflow.plan import OnFailure, Plan
from headrace_core.workflow.resolution import Catalogue, FlowDescriptor
from headrace_scheduler.domain import commands as cmd
from headrace_scheduler.domain.decide import event_home
from tests.support.flow_run import compiled
from tests.support.partitions import PARTITIONS, Partitions
from tests.support.run_harness import TENANT

GO, CALL, SHIP = StepKey("go"), StepKey("call"), StepKey("ship")
MINUTE_MS = 60_000


class Scene(Partitions):
    """What the scenes have in common."""

    def tell(self, run: RunId, command: cmd.Command) -> None:
        rejection = self.take(partition_of(slot_of(run), PARTITIONS), command)
        assert rejection is None, rejection

    def succeed(self, run: RunId, step: StepKey, output: Stored = NOTHING) -> None:
        self.tell(run, replace(self.assign(run, step), output=output))

    def fail(self, run: RunId, step: StepKey, kind: str) -> None:
        failed = cmd.Outcome.FAILED
        done = self.assign(run, step)
        self.tell(run, replace(done, outcome=failed, error=StepError(type=kind)))

    def cancel(self, run: RunId) -> None:
        cause = CancelCause.REQUEST
        self.tell(run, cmd.CancelRun(run=run, tenant=TENANT, cause=cause, requested_by="bob"))

    def sealed(self, run: RunId, text: bytes) -> Stored:
        return self.vault.seal(run, text)

    def events_of(self, partition: int) -> Sequence[tuple[int, tuple[PartitionEvent, ...]]]:
        """(time, events) of each record, after the claim with which its owner began."""
        found = [(at, events) for number, at, events in self.records if number == partition]
        claim = PartitionClaimed(owner="scheduler", nonce=b"n" * 16)
        return [(found[0][0], (claim,)), *found] if found else []


def _scene(*plans: Plan) -> Scene:
    return Scene({plan.hash: plan for plan in plans})


def places() -> Scene:
    """Runs of one `concurrency` key that wait, make way, and leave."""
    head = "flow: v1\nname: {}\nconcurrency: {{key: k, limit: 1, on_conflict: {}}}\nsteps:\n"
    wait = "  go: {wait: {event: {topic: go, key: all}}}\n"
    queue, replaced = (
        compiled(head.format(name, how) + wait)
        for name, how in (("queued", "queue"), ("newest", "cancel_running"))
    )
    world = _scene(queue, replaced)
    waiting = [world.start(queue, slot=slot) for slot in (0, 400, 900)]
    world.cancel(waiting[2])
    for run in waiting[:2]:
        assert world.signal(run, "go") is None
    for slot in (100, 700):
        newest = world.start(replaced, slot=slot)
    assert world.signal(newest, "go") is None
    return world


def rates() -> Scene:
    """Calls of one `rate_limit` key: at once, later, and never since the run was cancelled."""
    flow = compiled(
        "flow: v1\nname: sync\nsteps:\n"
        "  call: {uses: worker.call@1, rate_limit: {key: crm, per: 1s, limit: 1}}\n"
    )
    world = _scene(flow)
    runs = [world.start(flow, slot=slot) for slot in (0, 300, 900)]
    world.succeed(runs[0], CALL)
    world.cancel(runs[2])
    world.pass_time(world.now_ms + 1_000)
    world.succeed(runs[1], CALL)
    return world


def arrivals() -> Scene:
    """Events that come early, in time, too many for one record, and for nobody; signals."""
    flow = compiled(
        "flow: v1\nname: order\ninputs: {order: {type: string}}\nsteps:\n"
        '  go: {wait: {event: {topic: paid, key: "${{ inputs.order }}", keep: 1m}, expires: 1h}}\n'
    )
    world = _scene(flow)
    world.publish("paid", "early", 1)
    for order in ("early", "in time", "signalled", "late"):
        run = world.start(flow, {"order": order}, slot=300)
        if order == "signalled":
            assert world.signal(run, "paid") is None
    world.publish("paid", "in time", 2)
    with pytest.MonkeyPatch.context() as smaller:
        smaller.setattr(event_home, "FORWARDED_BYTES_MAX", 800)
        for slot in (0, 200, 800):
            world.start(flow, {"order": "many"}, slot)
        world.publish("paid", "many", 3, keep_ms=0)
        world.publish("paid", "many", 4, keep_ms=0)
    world.pass_time(world.now_ms + 60 * MINUTE_MS)
    return world


def event_triggers() -> Scene:
    """An event that starts a flow, and one whose input does not fit."""
    flow = compiled(
        "flow: v1\nname: index\ntriggers: {any: {event: {topic: file.created}}}\n"
        "inputs: {id: {type: string}}\nsteps: {note: {set: {id: '${{ inputs.id }}'}}}\n"
    )
    world = _scene(flow)
    world.publish("file.created", "k", {"id": "f-1"})
    world.publish("file.created", "k", {"id": 7})
    return world


def families() -> Scene:
    """Children that are spread over partitions, and a parent that is cancelled with them."""
    part = compiled("flow: v1\nname: part\nsteps: {go: {uses: worker.go@1}}\n")
    known = {("part", "stable"): FlowDescriptor("part", 1, part.hash, part.inputs)}
    whole = compiled(
        "flow: v1\nname: whole\nsteps:\n"
        "  each: {foreach: {in: '[1, 2, 3]', as: one}, uses: flow/part@stable}\n",
        Catalogue(flows=known),
    )
    world = _scene(part, whole)
    world.start(whole)
    for run in [one for one, state in world.runs.items() if state.flow == "part"]:
        world.succeed(run, GO)
    cancelled = world.start(whole, slot=600)
    world.cancel(cancelled)
    return world


def schedules() -> Scene:
    """Firings that start, are dropped, wait for an open run, and start one later."""
    every = "triggers: {tick: {schedule: {every: 1m, overlap: queue}}}"
    flow = compiled(f"flow: v1\nname: tick\n{every}\nsteps: {{go: {{uses: worker.go@1}}}}\n")
    world = _scene(flow)
    home = partition_of(slot_for(TENANT, "tick", "tick"), PARTITIONS)
    for overlap in (Overlap.QUEUE, Overlap.SKIP):
        _set(world, home, flow, every_ms=MINUTE_MS, overlap=overlap)
        first = _fire(world, home)
        _fire(world, home)
        world.succeed(first, GO)
        if overlap is Overlap.QUEUE:
            world.succeed(_fire(world, home, queued=True), GO)
    _set(world, home, flow, cron="0 2 * * *", timezone="Europe/Berlin")
    _set(world, home, flow)
    return world


def _set(world: Scene, home: int, flow: Plan, **rhythm: Any) -> None:
    command = cmd.SetSchedule(
        schedule="acme/tick/tick",
        tenant=TENANT,
        flow=flow.flow,
        version=1,
        plan=flow.hash,
        trigger="tick",
        **rhythm,
    )
    assert world.take(home, command) is None


def _fire(world: Scene, home: int, *, queued: bool = False) -> RunId:
    schedule = world.owned[home].state.schedules["acme/tick/tick"]
    due_ms = schedule.queued[0] if queued else schedule.next_due_ms
    world.now_ms = max(world.now_ms, due_ms)
    slot = slot_for(TENANT, "tick", "tick")
    run = run_id(slot, due_ms // DAY_MS, stable_hash(f"{due_ms} {len(world.runs)}")[:10])
    command = cmd.FireSchedule(
        schedule="acme/tick/tick",
        due_ms=due_ms,
        firing_ms=due_ms,
        run=run,
        input=world.sealed(run, b"{}"),
        queued=queued,
    )
    assert world.take(home, command) is None
    return run


def repairs() -> Scene:
    """A run that fails, is repaired and forked, and one that the engine has parked; notes."""
    flow = compiled(
        "flow: v1\nname: ship\non_failure: suspend\nsteps:\n"
        "  go: {uses: worker.go@1}\n"
        "  ship: {needs: [go], uses: worker.ship@1}\n"
    )
    world = _scene(flow)
    run = world.start(flow)
    noted = world.assign(run, GO)
    note = world.sealed(run, b'"half"')
    world.tell(
        run,
        cmd.NoteStep(
            run=run, step=GO, attempt=noted.attempt, token=noted.token, number=1, note=note
        ),
    )
    world.tell(run, replace(noted, output=world.sealed(run, b"7")))
    world.fail(run, SHIP, "http.400")
    fork = _forked(world, flow, run)
    world.succeed(fork, SHIP)
    retried = cmd.StepEdit(step=SHIP, repair=Repair.RETRY)
    _resume(world, run, retried)
    world.fail(run, SHIP, "http.400")
    output = world.sealed(run, b'"by hand"')
    _resume(world, run, cmd.StepEdit(step=SHIP, repair=Repair.OUTPUT, value=output))
    parked = world.start(flow, slot=500)
    world.tell(parked, cmd.ParkRun(run=parked, incident=StepError(type="engine.fault")))
    world.cancel(parked)
    return world


def _resume(world: Scene, run: RunId, *edits: cmd.StepEdit) -> None:
    world.tell(run, cmd.ResumeRun(run=run, tenant=TENANT, resumed_by="ann", edits=edits))


def _forked(world: Scene, flow: Plan, source: RunId, letter: LetterId | None = None) -> RunId:
    """From where the run stands: with another output of its first step, or to replay a letter."""
    state, fork = world.runs[source], run_id(700, 20_000, b"fork-of-it")
    edited = set[str]() if letter else {"go"}
    made = plan_fork(state, flow, flow, ForkEdits(outputs=edited), set(state.steps))
    outputs = {name: world.sealed(fork, b"8") for name in edited}

    def reseal(stored: Stored) -> Stored:
        return world.sealed(fork, world.vault.open(source, stored)) if stored else stored

    event = RunForked(
        source=source,
        source_sequence=state.sequence,
        state_hash=state_hash(state),
        flow=flow.flow,
        version=1,
        plan=flow.hash,
        input=reseal(state.input),
        started_by="bob",
        steps=inherit(state, made, outputs, reseal),
    )
    command = cmd.ForkRun(
        run=fork,
        tenant=TENANT,
        fork=event,
        start_key=stable_hash(fork),
        fingerprint=b"f" * 32,
        key_kept_ms=MINUTE_MS,
        letter=letter or LetterId(""),
        letter_step=SHIP,
    )
    world.tell(fork, command)
    return fork


def letters() -> Scene:
    """Calls that failed for good: one is replayed in its suspended run and fails again, another is
    discarded, a third replayed by a fork."""
    flow = compiled(
        "flow: v1\nname: order\non_failure: ON\nsteps:\n"
        "  ship: {uses: http.post@1, with: {url: 'https://example.com'}}\n".replace("ON", "suspend")
    )
    drained = replace(flow, hash=PlanHash("d" * 64), on_failure=OnFailure.DRAIN)
    world = _scene(flow, drained)
    run = world.start(flow, slot=300)
    world.fail(run, SHIP, "http.400")
    _resume(world, run)
    world.fail(run, SHIP, "http.400")
    _resume(world, run, cmd.StepEdit(step=SHIP, repair=Repair.SKIP))
    ended = world.start(drained, slot=900)
    world.fail(ended, SHIP, "http.400")
    letter = letter_id(ended, SHIP, 1)
    world.succeed(_forked(world, drained, ended, letter), SHIP)
    other = world.start(drained, slot=100)
    world.fail(other, SHIP, "http.400")
    discard = cmd.DiscardLetter(
        letter=letter_id(other, SHIP, 1),
        tenant=TENANT,
        run=other,
        step=SHIP,
        discarded_by="ann",
        reason=world.sealed(other, b'"bought elsewhere"'),
        start_key=stable_hash(other),
        fingerprint=b"f" * 32,
        key_kept_ms=MINUTE_MS,
    )
    assert world.take(3, discard) is None
    return world


def subjects() -> Scene:
    """A run whose payloads are sealed under its data subject's key."""
    flow = compiled(
        "flow: v1\nname: parcel\ninputs: {customer: {type: string}}\nsubject: inputs.customer\n"
        "steps: {label: {set: {to: '${{ inputs.customer }}'}}}\n"
    )
    world = _scene(flow)
    world.start(flow, {"customer": "ada"})
    return world


SCENES: Mapping[str, Callable[[], Scene]] = {
    scene.__name__.replace("_", "-"): scene
    for scene in (
        places,
        rates,
        arrivals,
        event_triggers,
        families,
        schedules,
        repairs,
        letters,
        subjects,
    )
}
