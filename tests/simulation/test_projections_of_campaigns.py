"""History's projections of logs that were written under faults are the fold of these logs."""

from tests.invariants.facts import gather
from tests.invariants.projecting import projected_of
from tests.invariants.projections import projections_equal_the_fold
from tests.invariants.witnesses import Witnesses
from tests.simulation.world.campaign import LOG_ID, Campaign
from tests.simulation.world.scenario import draw_scenario
from tests.simulation.world.virtual_loop import run_virtually


def test_rows_journal_and_usage_of_runs_under_faults_are_those_of_the_log() -> None:
    rows = 0
    for seed in range(20):
        campaign = Campaign(draw_scenario(seed))
        run_virtually(campaign.run())
        projected = projected_of(campaign.raw, LOG_ID)
        facts = gather(campaign.raw, LOG_ID)
        violations = list(projections_equal_the_fold(facts, Witnesses(projected=[projected])))
        assert not violations, "\n".join(map(str, violations[:5]))
        rows += sum(len(one.tables["run"]) for one in projected.tenants)
    assert rows > 100
