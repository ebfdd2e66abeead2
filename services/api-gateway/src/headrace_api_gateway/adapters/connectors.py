"""The Vault port over gRPC. What sets or deletes is sent once: a second setting of a secret would
be another version."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TypeVar

import grpc
import grpc.aio

from headrace.connector.v1 import vault_service_pb2 as pb
from headrace.connector.v1.vault_service_pb2_grpc import VaultServiceStub
from headrace_api_gateway.app.vault import AllowedPair, SecretEntry
from headrace_core.errors import HeadraceError, InvalidInput, NotFound, TooLarge, Unavailable
from headrace_core.ids import TenantId
from headrace_runtime.address import Address
from headrace_runtime.rpc.channel import open_channel

CALL_S = 10.0
CODE_KEY = "headrace-code"
PORT_MAX = 65_535
_BY_CODE: dict[str, type[HeadraceError]] = {
    kind.code: kind for kind in (InvalidInput, NotFound, TooLarge, Unavailable)
}
_AWAY = (
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.CANCELLED,
)

Answer = TypeVar("Answer")


class ConnectorsClient:
    def __init__(self, address: Address, token: str = "", call_s: float = CALL_S) -> None:
        self._channel = open_channel(address, token)
        self._stub = VaultServiceStub(self._channel)
        self._call_s = call_s

    async def close(self) -> None:
        await self._channel.close()

    async def set_secret(self, tenant: TenantId, name: str, value: str) -> int:
        request = pb.SetSecretRequest(tenant=tenant, name=name, value=_utf8(value))
        return (await self._call(self._stub.SetSecret, request)).version

    async def secrets(self, tenant: TenantId) -> Sequence[SecretEntry]:
        found = await self._call(self._stub.ListSecrets, pb.ListSecretsRequest(tenant=tenant))
        return [SecretEntry(one.name, one.version, one.set_ms) for one in found.secrets]

    async def delete_secret(self, tenant: TenantId, name: str) -> None:
        await self._call(self._stub.DeleteSecret, pb.DeleteSecretRequest(tenant=tenant, name=name))

    async def allow(self, tenant: TenantId, host: str, port: int) -> AllowedPair:
        request = pb.AllowEgressRequest(tenant=tenant, pair=_pair(host, port))
        pair = (await self._call(self._stub.AllowEgress, request)).pair
        return AllowedPair(pair.host, pair.port)

    async def deny(self, tenant: TenantId, host: str, port: int) -> None:
        request = pb.DenyEgressRequest(tenant=tenant, pair=_pair(host, port))
        await self._call(self._stub.DenyEgress, request)

    async def allowed(self, tenant: TenantId) -> Sequence[AllowedPair]:
        found = await self._call(self._stub.ListEgress, pb.ListEgressRequest(tenant=tenant))
        return [AllowedPair(pair.host, pair.port) for pair in found.pairs]

    async def verify_webhook(
        self, tenant: TenantId, scheme: str, secret: str, headers: Mapping[str, str], body: bytes
    ) -> str:
        request = pb.VerifyWebhookRequest(
            tenant=tenant, scheme=scheme, secret=secret, headers=headers, body=body
        )
        answer = await self._call(self._stub.VerifyWebhook, request)
        return "" if answer.verified else answer.reason or "not verified"

    async def _call(self, method: Callable[..., Awaitable[Answer]], request: object) -> Answer:
        try:
            return await method(request, timeout=self._call_s, wait_for_ready=True)
        except grpc.aio.AioRpcError as fault:
            raise _error_of(fault) from None


def _pair(host: str, port: int) -> pb.HostPort:
    """Raises InvalidInput for what the message cannot hold."""
    if not 1 <= port <= PORT_MAX:
        raise InvalidInput(f"{port} is not a port: it is between 1 and {PORT_MAX}.")
    return pb.HostPort(host=host, port=port)


def _utf8(value: str) -> bytes:
    try:
        return value.encode()
    except UnicodeEncodeError:
        raise InvalidInput("The value holds half a character (a lone surrogate).") from None


def _error_of(fault: grpc.aio.AioRpcError) -> HeadraceError:
    metadata = fault.trailing_metadata() or ()
    code = next((str(value) for key, value in metadata if key == CODE_KEY), "")
    kind = _BY_CODE.get(code)
    if kind is not None:
        return kind(fault.details() or "")
    if fault.code() in _AWAY:
        return Unavailable("The service of connectors does not answer at the moment. Try again.")
    return HeadraceError(f"Connectors failed: {fault.code().name}: {fault.details()}")
