"""The answers of one case, given to the engine as it asks."""

from collections.abc import Mapping

from headrace_cli.testing.case_file import Answer, Answers, Given, ItemAnswers
from headrace_cli.testing.outside import Call, Decision, Reply
from headrace_core.ids import StepKey, name_of
from headrace_core.workflow.duration import duration_ms


class Script:
    """An `Outside`. The root flow's steps answer by `steps`, those of called flows by `flows`."""

    def __init__(self, flow: str, given: Given) -> None:
        self._steps: Mapping[str, Mapping[str, Answers]] = {**given.flows, flow: given.steps}

    def reply(self, call: Call) -> Reply | None:
        answers = self._answers(call.flow, call.step)
        if isinstance(answers, ItemAnswers):
            by_key = answers.items.get(call.item or "")
            answers = by_key if by_key is not None else answers.others
        if answers is None:
            return None
        return _reply(_in_turn(answers, call.number))

    def decision(self, flow: str, step: StepKey) -> Decision | None:
        answers = self._answers(flow, step)
        if answers is None or isinstance(answers, ItemAnswers):
            return None
        answer = _in_turn(answers, 1)
        if answer.decision is None:
            return None
        said = {"decision": answer.decision, "comment": answer.comment}
        said |= {"form": answer.form, "decided_by": answer.by}
        return Decision(answer.decision, said, _ms(answer.after))

    def _answers(self, flow: str, step: StepKey) -> Answers | None:
        return self._steps.get(flow, {}).get(name_of(step))


def _in_turn(answers: Answer | list[Answer], number: int) -> Answer:
    if isinstance(answers, Answer):
        return answers
    return answers[min(number, len(answers)) - 1]


def _reply(answer: Answer) -> Reply:
    after_ms, retry_after_ms = _ms(answer.after), _ms(answer.retry_after)
    if answer.error is None:
        return Reply(answer.output, after_ms=after_ms)
    return Reply(None, answer.error.type, answer.error.message, after_ms, retry_after_ms)


def _ms(duration: str | None) -> int:
    return 0 if duration is None else duration_ms(duration)
