"""The dispatch protocol as designed, and 24 times with one of its rules off."""

from dataclasses import replace

from tests.simulation.models import dispatch
from tests.simulation.models.dispatch import Dispatch
from tests.simulation.models.explore import LIVENESS
from tests.simulation.models.variant import Control, Rule

KEYED = dispatch.Rules(operation="keyed")
PROBED = dispatch.Rules(operation="probed", is_timed=True)
AT_MOST_ONCE = dispatch.Rules(operation="at_most_once")


def three_attempts(rules: dispatch.Rules) -> dispatch.Rules:
    return replace(rules, max_attempts=3, claims=1, crashes=0, may_cancel=False, tasks_repeat=False)


DISPATCH_SOMETIMES = (
    "fenced owner closes the row",
    "attempt 1 declared lost, its result waits",
    "attempt 1 declared lost, it still runs",
    "claim lapses",
    "attempt 2 finds done",
    "attempt 1 is superseded",
    "attempt 1 finds its row closed",
    "executor 0 crashes",
    "verdict appended -> cancelled",
)
DISPATCH_RULES = [
    Rule(
        name="keyed: a claim may lapse under a slow holder",
        model=Dispatch(KEYED),
        states=187_449,
        sometimes=DISPATCH_SOMETIMES,
    ),
    Rule(
        name="probed: no request outlives its claim",
        model=Dispatch(PROBED),
        states=106_714,
        sometimes=DISPATCH_SOMETIMES,
    ),
    Rule(
        name="at most once: a claim may lapse under a slow holder",
        model=Dispatch(AT_MOST_ONCE),
        states=54_605,
        sometimes=DISPATCH_SOMETIMES,
    ),
    Rule(
        name="keyed: three attempts",
        model=Dispatch(three_attempts(KEYED)),
        states=25_322,
        sometimes=("attempt 3 finds done",),
    ),
    Rule(
        name="probed: three attempts",
        model=Dispatch(three_attempts(PROBED)),
        states=16_402,
        sometimes=("attempt 3 probes: found",),
    ),
    Rule(
        name="at most once: three attempts",
        model=Dispatch(replace(three_attempts(AT_MOST_ONCE), tasks_repeat=True)),
        states=37_057,
        sometimes=("attempt 3 finds a lapsed claim",),
    ),
    Rule(
        name="at most once: redundant but for REP, executors accept tasks of older epochs",
        model=Dispatch(replace(AT_MOST_ONCE, refuse_old=False, check_old_epochs=False)),
        states=62_634,
        sometimes=DISPATCH_SOMETIMES,
    ),
    Rule(
        name="at most once: no process ids, my predecessor's claim under my number is not mine",
        model=Dispatch(replace(AT_MOST_ONCE, process_id=False)),
        states=112_276,
        sometimes=("executor 0 crashes",),
    ),
]
EFFECT_ROW_CONTROLS = [
    Control(
        name="first draft: a claim needs no order, verdicts no row",
        model=Dispatch(
            replace(
                AT_MOST_ONCE,
                row_order=False,
                verdict_in_row=False,
                close_in_row=False,
                taint=False,
                own_claim=False,
            )
        ),
        breaks=dispatch.EFFECT_DENIED,
        states=5_499,
    ),
    Control(
        name="probed: a request may outlive its claim",
        model=Dispatch(replace(PROBED, is_timed=False)),
        breaks=dispatch.TWO_EFFECTS,
        states=65_567,
    ),
    Control(
        name="claims not ordered by attempt",
        model=Dispatch(replace(AT_MOST_ONCE, row_order=False)),
        breaks=dispatch.EFFECT_DENIED,
        states=6_818,
    ),
    Control(
        name="executor says no effect without writing it in the row",
        model=Dispatch(replace(AT_MOST_ONCE, verdict_in_row=False)),
        breaks=dispatch.EFFECT_DENIED,
        states=11_670,
    ),
    Control(
        name="owner says failed or cancelled without closing the row",
        model=Dispatch(replace(AT_MOST_ONCE, close_in_row=False)),
        breaks=dispatch.EFFECT_DENIED,
        states=5_770,
    ),
    Control(
        name="probed: a claim taken over unprobed may become failed_before_effect",
        model=Dispatch(replace(PROBED, taint=False)),
        breaks=dispatch.EFFECT_DENIED,
        states=42_816,
    ),
    Control(
        name="keyed: a claim taken over may become failed_before_effect",
        model=Dispatch(replace(KEYED, taint=False)),
        breaks=dispatch.EFFECT_DENIED,
        states=50_484,
    ),
    Control(
        name="failed_before_effect written over another's claim",
        model=Dispatch(replace(three_attempts(PROBED), own_claim=False)),
        breaks=dispatch.EFFECT_DENIED,
        states=10_343,
    ),
    Control(
        name="call before the claim is committed",
        model=Dispatch(replace(AT_MOST_ONCE, claim_first=False)),
        breaks=dispatch.EFFECT_DENIED,
        states=3_384,
    ),
    Control(
        name="live claim not waited for",
        model=Dispatch(replace(PROBED, wait_live=False)),
        breaks=dispatch.TWO_EFFECTS,
        states=54_199,
    ),
    Control(
        name="lapsed claim of an at-most-once operation called again",
        model=Dispatch(replace(AT_MOST_ONCE, none_unknown=False)),
        breaks=dispatch.TWO_EFFECTS,
        states=50_506,
    ),
    Control(
        name="lapsed claim called again without a probe",
        model=Dispatch(replace(PROBED, probe=False)),
        breaks=dispatch.TWO_EFFECTS,
        states=42_722,
    ),
    Control(
        name="probe first, then take over the claim",
        model=Dispatch(replace(three_attempts(PROBED), probe_after_claim=False)),
        breaks=dispatch.TWO_EFFECTS,
        states=13_787,
    ),
    Control(
        name="another key per attempt",
        model=Dispatch(replace(KEYED, same_key=False)),
        breaks=dispatch.TWO_EFFECTS,
        states=50_397,
    ),
    Control(
        name="row that is done not used",
        model=Dispatch(replace(AT_MOST_ONCE, use_done=False)),
        breaks=dispatch.TWO_EFFECTS,
        states=36_242,
    ),
    Control(
        name="executor id outlives the process, own number taken for own claim",
        model=Dispatch(replace(AT_MOST_ONCE, process_id=False, own_number_is_mine=True)),
        breaks=dispatch.TWO_EFFECTS,
        states=47_002,
    ),
]
TASK_AND_RESULT_CONTROLS = [
    Control(
        name="executors accept tasks of older epochs",
        model=Dispatch(replace(AT_MOST_ONCE, refuse_old=False)),
        breaks=dispatch.OLD_EPOCH_BEGUN,
        states=92,
    ),
    Control(
        name="task sent before its record is accepted",
        model=Dispatch(replace(AT_MOST_ONCE, record_first=False)),
        breaks=dispatch.TASK_OF_A_VOID_RECORD,
        states=6,
    ),
    Control(
        name="fold accepts results of closed attempts",
        model=Dispatch(replace(AT_MOST_ONCE, fold_open=False)),
        breaks=dispatch.SECOND_TERMINAL_OUTCOME,
        states=503,
    ),
    Control(
        name="acknowledgement before the record is accepted",
        model=Dispatch(replace(AT_MOST_ONCE, durable_ack=False)),
        breaks=dispatch.RESULT_GIVEN_UP,
        states=747,
    ),
    Control(
        name="acknowledgement of an attempt that the owner does not know",
        model=Dispatch(replace(AT_MOST_ONCE, ack_epoch=False)),
        breaks=dispatch.RESULT_GIVEN_UP,
        states=1_676,
    ),
    Control(
        name="result not kept until acknowledged",
        model=Dispatch(replace(AT_MOST_ONCE, keep=False)),
        breaks=dispatch.RESULT_GIVEN_UP,
        states=499,
    ),
    Control(
        name="assignment after cancel",
        model=Dispatch(replace(AT_MOST_ONCE, no_assign_cancelled=False)),
        breaks=dispatch.ASSIGNED_AFTER_CANCEL,
        states=136,
    ),
    Control(
        name="nobody declares an attempt lost",
        model=Dispatch(replace(AT_MOST_ONCE, lost_rule=False)),
        breaks=LIVENESS,
        states=19_121,
    ),
]
