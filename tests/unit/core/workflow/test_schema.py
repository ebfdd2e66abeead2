"""The schema that is generated, the model, and the schema of the design give one verdict."""

import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from pydantic import ValidationError

from headrace_core.workflow.loader import load
from headrace_core.workflow.model import Flow
from headrace_core.workflow.schema import DIALECT, flow_schema
from tests.unit.core.workflow.mutations import mutated

HERE = Path(__file__).parent
DESIGN = json.loads((HERE / "design" / "flow-v1.schema.json").read_text())
DESIGNED = sorted((HERE / "design").glob("*.flow.yaml"))
EXAMPLES = sorted(HERE.parents[3].joinpath("examples").glob("*.flow.yaml"))
BROKEN = sorted((HERE / "broken").glob("*.flow.yaml"))
MUTATIONS = 500

_designed = jsonschema_rs.Draft7Validator(DESIGN)
_generated = jsonschema_rs.Draft7Validator(flow_schema())


def _model_accepts(document: Any) -> bool:
    try:
        Flow.model_validate(document)
    except ValidationError:
        return False
    return True


VERDICTS: tuple[Callable[[Any], bool], ...] = (
    _designed.is_valid,
    _generated.is_valid,
    _model_accepts,
)


def _documents(paths: list[Path]) -> Iterator[Any]:
    for path in paths:
        document, _ = load(path.read_text())
        if document.data is not None:
            yield document.data


@pytest.mark.parametrize("path", [*DESIGNED, *EXAMPLES], ids=lambda path: path.name)
def test_every_good_flow_is_valid_to_all(path: Path) -> None:
    (document,) = _documents([path])
    assert [accepts(document) for accepts in VERDICTS] == [True, True, True]


def test_all_agree_about_the_broken_corpus() -> None:
    documents = list(_documents(BROKEN))
    assert len(documents) > 30
    for document in documents:
        assert len({accepts(document) for accepts in VERDICTS}) == 1, document


def test_all_agree_about_mutations() -> None:
    rng = random.Random(1)
    originals = list(_documents([*DESIGNED, *EXAMPLES]))
    accepted = 0
    for _ in range(MUTATIONS):
        document = mutated(rng.choice(originals), rng)
        verdicts = {accepts(document) for accepts in VERDICTS}
        assert len(verdicts) == 1, document
        accepted += True in verdicts
    assert MUTATIONS // 10 < accepted < MUTATIONS * 9 // 10, "mutations that all agree on anyway"


def test_the_schema_is_draft_07_and_valid() -> None:
    schema = flow_schema()
    assert schema["$schema"] == DIALECT
    assert jsonschema_rs.meta.is_valid(schema)
    assert "$defs" not in json.dumps(schema)
