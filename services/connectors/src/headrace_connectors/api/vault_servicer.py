"""VaultService: secrets and allowed egress of a tenant. No answer holds a value."""

from collections.abc import Callable

import grpc.aio

from headrace.connector.v1 import vault_service_pb2 as pb
from headrace.connector.v1.vault_service_pb2_grpc import (
    VaultServiceServicer,
    add_VaultServiceServicer_to_server,
)
from headrace_connectors.api import verify_webhook
from headrace_connectors.api.faults import Context, answer
from headrace_core.ids import TenantId
from headrace_runtime.allowed_egress import AllowedEgress
from headrace_runtime.clock import SystemClock
from headrace_runtime.egress import HostPort
from headrace_runtime.tenant_secrets import TenantSecrets


class VaultServicer(VaultServiceServicer):
    def __init__(self, secrets: TenantSecrets, egress: AllowedEgress) -> None:
        self._secrets = secrets
        self._egress = egress
        self._clock = SystemClock()

    async def SetSecret(
        self, request: pb.SetSecretRequest, context: Context
    ) -> pb.SetSecretResponse:
        tenant = TenantId(request.tenant)
        setting = self._secrets.set(tenant, request.name, request.value)
        return pb.SetSecretResponse(version=await answer(context, setting))

    async def ListSecrets(
        self, request: pb.ListSecretsRequest, context: Context
    ) -> pb.ListSecretsResponse:
        entries = await answer(context, self._secrets.list(TenantId(request.tenant)))
        secrets = [
            pb.Secret(name=one.name, version=one.version, set_ms=one.set_ms) for one in entries
        ]
        return pb.ListSecretsResponse(secrets=secrets)

    async def DeleteSecret(
        self, request: pb.DeleteSecretRequest, context: Context
    ) -> pb.DeleteSecretResponse:
        await answer(context, self._secrets.delete(TenantId(request.tenant), request.name))
        return pb.DeleteSecretResponse()

    async def AllowEgress(
        self, request: pb.AllowEgressRequest, context: Context
    ) -> pb.AllowEgressResponse:
        return await answer(context, self._allow(request))

    async def DenyEgress(
        self, request: pb.DenyEgressRequest, context: Context
    ) -> pb.DenyEgressResponse:
        return await answer(context, self._deny(request))

    async def ListEgress(
        self, request: pb.ListEgressRequest, context: Context
    ) -> pb.ListEgressResponse:
        pairs = await answer(context, self._egress.list(TenantId(request.tenant)))
        return pb.ListEgressResponse(pairs=[_pair(one) for one in pairs])

    async def VerifyWebhook(
        self, request: pb.VerifyWebhookRequest, context: Context
    ) -> pb.VerifyWebhookResponse:
        return await answer(context, verify_webhook.handle(self._secrets, self._clock, request))

    async def _allow(self, request: pb.AllowEgressRequest) -> pb.AllowEgressResponse:
        pair = HostPort.normal(request.pair.host, request.pair.port)
        await self._egress.allow(TenantId(request.tenant), pair)
        return pb.AllowEgressResponse(pair=_pair(pair))

    async def _deny(self, request: pb.DenyEgressRequest) -> pb.DenyEgressResponse:
        pair = HostPort.normal(request.pair.host, request.pair.port)
        await self._egress.deny(TenantId(request.tenant), pair)
        return pb.DenyEgressResponse()


def register(secrets: TenantSecrets, egress: AllowedEgress) -> Callable[[grpc.aio.Server], None]:
    """For `start_server`."""

    def add(server: grpc.aio.Server) -> None:
        add_VaultServiceServicer_to_server(VaultServicer(secrets, egress), server)

    return add


def _pair(pair: HostPort) -> pb.HostPort:
    return pb.HostPort(host=pair.host, port=pair.port)
