"""Errors that the engine itself makes, in the form that events carry."""

import json
from typing import Protocol

from headrace_core.errors import KeyErased
from headrace_core.ids import RunId
from headrace_core.payload import Vault
from headrace_core.run.events import StepError

INPUT_ERASED = "input.erased"


class Seals(Protocol):
    @property
    def vault(self) -> Vault: ...
    @property
    def run_id(self) -> RunId: ...


def engine_error(turn: Seals, error_type: str, message: str) -> StepError:
    """`message` may quote a user's data, so it is sealed like any payload."""
    return sealed_error(turn.vault, turn.run_id, error_type, message)


def sealed_error(vault: Vault, run: RunId, error_type: str, message: str) -> StepError:
    """Where the key is gone the type alone is left: it says more than no word at all."""
    try:
        return StepError(type=error_type, message=vault.seal(run, json.dumps(message).encode()))
    except KeyErased:
        return StepError(type=error_type)
