"""`http.*` and `postgres.*`: one call of the connectors service each."""

from headrace_executor.app.ports import Call, Completion, Connectors
from headrace_executor.domain.effect_flow import outcome_of


class ConnectorOperation:
    """Implements app.ports.Operation."""

    def __init__(self, connectors: Connectors) -> None:
        self._connectors = connectors

    async def run(self, call: Call) -> Completion:
        said = await self._connectors.invoke(call)
        outcome = outcome_of(said.word, may_have_acted=said.may_have_acted, action=call.action)
        return Completion(
            outcome,
            said.output,
            said.error_type,
            said.error_message,
            said.retry_after_ms,
        )
