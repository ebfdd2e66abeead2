"""VerifyWebhook: yes or no, by the tenant's secret."""

from headrace.connector.v1 import vault_service_pb2 as pb
from headrace_connectors.domain.webhooks import webhook_fault
from headrace_core.errors import NotFound
from headrace_core.ids import TenantId
from headrace_runtime.clock import Clock
from headrace_runtime.tenant_secrets import TenantSecrets


async def handle(
    secrets: TenantSecrets, clock: Clock, request: pb.VerifyWebhookRequest
) -> pb.VerifyWebhookResponse:
    try:
        secret = await secrets.open(TenantId(request.tenant), request.secret)
    except NotFound as missing:
        return pb.VerifyWebhookResponse(reason=missing.message)
    now_s = clock.now_ms() // 1_000
    reason = webhook_fault(
        request.scheme, secret.reveal(), dict(request.headers), request.body, now_s
    )
    return pb.VerifyWebhookResponse(verified=not reason, reason=reason)
