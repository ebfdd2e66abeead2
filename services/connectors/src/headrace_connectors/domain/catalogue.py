"""Every action of this installation by name, and what a plan pinned of it."""

from collections.abc import Iterable, Mapping, Sequence

from headrace_connector_sdk.action import ActionDescriptor, Connector, Run
from headrace_core.errors import InvalidState, NotFound


class Catalogue:
    def __init__(self, connectors: Iterable[Connector]) -> None:
        self.connectors: Sequence[Connector] = tuple(connectors)
        self._actions: Mapping[str, tuple[ActionDescriptor, Run]] = {
            name: action for one in self.connectors for name, action in one.actions.items()
        }

    def find(self, action: str, lock: str = "") -> tuple[ActionDescriptor, Run]:
        """Raises NotFound, and InvalidState if the plan was made for another description."""
        found = self._actions.get(action)
        if found is None:
            known = ", ".join(sorted(self._actions))
            raise NotFound(f"There is no action {action!r} here; there are {known}.")
        if lock and lock != found[0].lock:
            raise InvalidState(
                f"The flow was published for {action} {lock}, and this service has "
                f"{found[0].lock}. Publish the flow again."
            )
        return found
