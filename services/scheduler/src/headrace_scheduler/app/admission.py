"""Who may open a stream, and which lanes it may serve: decided from its credential alone."""

import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from headrace_core.errors import Forbidden, InvalidInput, Unauthenticated
from headrace_core.ids import TenantId
from headrace_core.lanes import SHARED_LANE, split_worker_lane, worker_lane

LANES_MAX = 256


class WorkerKeys(Protocol):
    async def tenant_of(self, api_key: str) -> TenantId:
        """Raises Unauthenticated, Forbidden for a key that may not serve tasks, Unavailable."""
        ...


@dataclass(frozen=True, slots=True)
class Admitted:
    """`lanes` are queues by the name that the stream gave them; `tenant` is None for an executor
    of the installation."""

    tenant: TenantId | None
    lanes: Mapping[str, str]


class Admission:
    """`internal_token` is what executors of this installation show; nobody else serves `shared`."""

    def __init__(self, internal_token: str, keys: WorkerKeys) -> None:
        self._token = internal_token.encode()
        self._keys = keys

    async def admit(self, api_key: str, lanes: Sequence[str]) -> Admitted:
        """Raises Unauthenticated, Forbidden, InvalidInput, Unavailable."""
        if len(lanes) > LANES_MAX:
            raise InvalidInput(f"A stream serves {LANES_MAX} lanes at most, not {len(lanes)}.")
        if hmac.compare_digest(api_key.encode(), self._token):
            for lane in lanes:
                if lane != SHARED_LANE:
                    raise InvalidInput(f"There is no lane {lane!r} for executors.")
            return Admitted(None, {SHARED_LANE: SHARED_LANE})
        if not api_key:
            raise Unauthenticated("A worker needs an API key whose role is worker or editor.")
        tenant = await self._keys.tenant_of(api_key)
        return Admitted(tenant, {lane: _lane_of_worker(tenant, lane) for lane in lanes})


def _lane_of_worker(tenant: TenantId, lane: str) -> str:
    if lane == SHARED_LANE:
        raise Forbidden("The lane 'shared' is served by the installation's own executors.")
    parts = split_worker_lane(lane)
    if parts is None:
        raise InvalidInput(f"There is no lane {lane!r}: a worker's is worker::<task>@<version>.")
    named, task = parts
    if named not in ("", tenant):
        raise Forbidden(f"This key is of tenant {tenant!r}; the lane {lane!r} is another's.")
    return worker_lane(tenant, task)
