"""Whatever comes in, compiling answers: a plan or faults, never an exception."""

import random
from pathlib import Path

import pytest

from headrace_core.workflow.compile import compile_definition
from headrace_core.workflow.fault import render_faults
from headrace_core.workflow.loader import load
from headrace_core.workflow.plan import Plan
from headrace_core.workflow.plan_json import plan_from_json, plan_to_json
from tests.unit.core.workflow.catalogue import CATALOGUE
from tests.unit.core.workflow.mutations import mutated

HERE = Path(__file__).parent
TEXTS = [path.read_text() for path in sorted(HERE.glob("design/*.flow.yaml"))]
CHARACTERS = "{}[]:,'\"$ \n\t-#&*!|>%@`~.()=+x1é\x00"


def _answers(definition: str | dict[str, object]) -> None:
    result = compile_definition(definition, CATALOGUE)
    if isinstance(result, Plan):
        assert plan_from_json(plan_to_json(result)) == result
    else:
        text = definition if isinstance(definition, str) else ""
        assert render_faults(result, text, "mutation").count("error[HR-1") == len(result) > 0


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_mutated_documents_are_answered(seed: int) -> None:
    rng = random.Random(seed)
    documents = [load(text)[0].data for text in TEXTS]
    for _ in range(150):
        _answers(mutated(rng.choice(documents), rng))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_damaged_texts_are_answered(seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(75):
        text = rng.choice(TEXTS)
        for _ in range(rng.randint(1, 4)):
            at = rng.randrange(len(text))
            if rng.random() < 0.5:
                text = text[:at] + text[at + rng.randint(1, 6) :]
            else:
                text = text[:at] + rng.choice(CHARACTERS) + text[at:]
        _answers(text)
