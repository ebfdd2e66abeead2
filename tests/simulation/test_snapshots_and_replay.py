"""The fold to any event is the same from whatever snapshot it starts, for runs under faults."""

from headrace_core.run.apply import apply_turn
from headrace_core.run.freeze import freeze_run, state_hash, thaw_run
from headrace_core.run.replay import replay
from headrace_core.run.state import RunState
from tests.invariants.facts import RunFacts, gather
from tests.simulation.world.campaign import LOG_ID, Campaign
from tests.simulation.world.scenario import draw_scenario
from tests.simulation.world.virtual_loop import run_virtually


def test_every_end_of_a_turn_may_be_a_snapshot() -> None:
    snapshots = 0
    for seed in range(6):
        campaign = Campaign(draw_scenario(seed))
        run_virtually(campaign.run())
        runs = gather(campaign.raw, LOG_ID).runs.values()
        snapshots += sum(check_snapshots(run) for run in runs)
    assert snapshots > 100


def check_snapshots(run: RunFacts) -> int:
    """Folds on from the frozen state at each end of a turn; answers how many there were."""
    live = RunState(run.run, run.tenant)
    hashes: list[str] = []
    frozen: list[bytes] = []
    for turn in run.turns:
        apply_turn(live, turn.events, turn.time_ms, turn.chain)
        hashes.append(state_hash(live))
        frozen.append(freeze_run(live))
    for begin, snapshot in enumerate(frozen):
        state = thaw_run(snapshot)
        for turn, expected in zip(run.turns[begin + 1 :], hashes[begin + 1 :], strict=True):
            apply_turn(state, turn.events, turn.time_ms, turn.chain)
            assert state_hash(state) == expected
    for turn, expected in zip(run.turns, hashes, strict=True):
        last = turn.sequence + len(turn.events) - 1
        assert state_hash(replay(run.run, run.tenant, run.turns, last)) == expected
    return len(frozen)
