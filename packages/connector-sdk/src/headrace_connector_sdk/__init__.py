"""What a connector author needs: descriptors, outcomes, authorisation, typed input.

An action is a descriptor and one async function from a call to an outcome. The function makes one
attempt: it neither retries nor waits for a better time; the outcome says what came of it.
"""

from headrace_connector_sdk.action import (
    ActionCall,
    ActionDescriptor,
    CallContext,
    Connector,
    Run,
    Secret,
)
from headrace_connector_sdk.auth import Authorisation, authorisation_of
from headrace_connector_sdk.outcome import Outcome, Word
from headrace_connector_sdk.schema import ActionInput, BadInput, read_input
from headrace_core.workflow.plan_parts import Effect, Idempotency

__all__ = [
    "ActionCall",
    "ActionDescriptor",
    "ActionInput",
    "Authorisation",
    "BadInput",
    "CallContext",
    "Connector",
    "Effect",
    "Idempotency",
    "Outcome",
    "Run",
    "Secret",
    "Word",
    "authorisation_of",
    "read_input",
]
