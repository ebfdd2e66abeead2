"""Subscribers of a run's live events: over the public WebSocket, and by history's own gRPC."""

import json
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path

import grpc
import grpc.aio
from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

from headrace.history.v1 import history_service_pb2 as pb
from headrace.history.v1.history_service_pb2_grpc import HistoryServiceStub
from headrace_runtime.address import Address
from headrace_runtime.internal_token import internal_token
from headrace_runtime.keys import load_root_key
from headrace_runtime.rpc.channel import open_channel
from tests.invariants.witnesses import Heard

Message = tuple[list[tuple[int, str]], bool]
"""Events, and whether these were the last."""
FAULTS = (WebSocketException, OSError, TimeoutError, grpc.aio.AioRpcError)


@dataclass(slots=True)
class Subscribers:
    """Of one tenant, at one suite on this machine. `key` is a reader's."""

    home: Path
    api: str
    key: str
    tenant: str

    @property
    def ways(self) -> "dict[str, Callable[[str, int], AsyncGenerator[Message]]]":
        return {"websocket": self._over_websocket, "grpc": self._over_grpc}

    async def hear(self, via: str, run: str, after: int, events_max: int = 1_000_000) -> Heard:
        """One connection, until it ends, breaks, or has brought so many events."""
        events: list[tuple[int, str]] = []
        ended = False
        try:
            async with aclosing(self.ways[via](run, after)) as messages:
                async for some, ended in messages:
                    events += some
                    if ended or len(events) >= events_max:
                        break
        except FAULTS:
            ended = False
        return Heard(run, via, after, events, ended)

    async def _over_websocket(self, run: str, after: int) -> AsyncGenerator[Message]:
        url = f"{self.api.replace('http', 'ws', 1)}/v1/runs/{run}/live?after={after}"
        headers = {"Authorization": f"Bearer {self.key}"}
        async with connect(url, additional_headers=headers, proxy=None) as socket:
            async for message in socket:
                said = json.loads(message)
                yield [(one["sequence"], one["kind"]) for one in said["events"]], said["ended"]

    async def _over_grpc(self, run: str, after: int) -> AsyncGenerator[Message]:
        request = pb.SubscribeRequest(tenant=self.tenant, run=run, after_sequence=after)
        async with _history_channel(self.home) as channel:
            call = HistoryServiceStub(channel).Subscribe(request)
            async for response in call:
                events = [json.loads(event) for event in response.events]
                yield [(one["sequence"], one["kind"]) for one in events], response.ended


def _history_channel(home: Path) -> grpc.aio.Channel:
    """As the gateway has it, with the token of this installation."""
    services = json.loads((home / "processes.json").read_bytes())["services"]
    root_key = load_root_key(home / "root.key")
    return open_channel(Address.parse(services["history"]["address"]), internal_token(root_key))
