"""Any OpenAI-compatible endpoint, through the `openai` package. Its only home.

Every connection passes the egress guard. The endpoint's own host and port are open, whatever they
are, because the operator set them and not a tenant; nothing else is reachable through this client.
"""

from collections.abc import Mapping
from typing import Any, cast

import httpx2
import orjson
from openai import (
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    AsyncOpenAI,
    OpenAIError,
)

from headrace_core.errors import EgressRefused
from headrace_core.ids import TenantId
from headrace_executor.domain.model_answer import Answer, Question, error_parts, read_answer
from headrace_executor.domain.model_faults import (
    NETWORK,
    NOT_CONFIGURED,
    PROTOCOL,
    TIMEOUT,
    ModelFailed,
    fault_of_status,
    retry_after_ms,
)
from headrace_runtime.clock import Clock
from headrace_runtime.egress import EgressGuard, HostPort, Resolve, resolve_by_system
from headrace_runtime.guarded_http import PORTS, GuardedTransport
from headrace_runtime.redaction import Redactor
from headrace_runtime.secret_text import SecretText

CONNECT_TIMEOUT_S = 10.0
ANSWER_TIMEOUT_S = 600.0
"""For steps without a timeout of their own: an endpoint that says nothing is given up."""
OPERATOR = TenantId("")
"""In place of a tenant: one endpoint, one key and one pool of connections serve them all."""
ANSWER_NAME = "answer"
KEPT_HEADERS = frozenset({"accept", "accept-encoding", "content-length", "content-type", "host"})
USER_AGENT = "headrace"
# These take the bound of an answer by its newer name only, everybody else knows the older one.
NEWER_NAME_HOSTS = ("openai.com", "openai.azure.com")


class OpenAiModels:
    """Implements app.models.Models. `key` is empty for endpoints that want none.

    Raises InvalidInput for a base URL whose host is none.
    """

    def __init__(
        self,
        base_url: str,
        key: SecretText,
        usual: str,
        clock: Clock,
        resolve: Resolve = resolve_by_system,
    ) -> None:
        self._usual = usual
        self._clock = clock
        self._key = key
        url = httpx2.URL(base_url)
        self._endpoint = HostPort.normal(url.host, url.port or PORTS[url.scheme])
        self._max_tokens = _name_of_max_tokens(self._endpoint.host)
        http = httpx2.AsyncClient(
            transport=EndpointTransport(self._endpoint, key, resolve),
            timeout=httpx2.Timeout(ANSWER_TIMEOUT_S, connect=CONNECT_TIMEOUT_S),
            trust_env=False,
            follow_redirects=False,
        )
        # The transport sets the headers that leave, so this key goes nowhere; an empty one would
        # make the package look for another in the environment.
        self._client = AsyncOpenAI(
            base_url=base_url, api_key="unused", max_retries=0, http_client=http
        )
        self._redactor = Redactor([key] if key.reveal() else [])

    @property
    def usual(self) -> str:
        return self._usual

    async def ask(self, question: Question) -> Answer:
        try:
            return read_answer(await self._ask(question))
        except ModelFailed as fault:
            # Endpoints quote the key that they do not know.
            raise ModelFailed(
                fault.error_type, self._redactor.text(fault.message), fault.retry_after_ms
            ) from None

    async def close(self) -> None:
        await self._client.close()

    async def _ask(self, question: Question) -> Any:
        try:
            completions: Any = self._client.chat.completions
            response = await completions.with_raw_response.create(**self._body(question))
            return orjson.loads(response.content)
        except EgressRefused as fault:
            message = f"HEADRACE_AI_BASE_URL: {fault.message}"
            raise ModelFailed(NOT_CONFIGURED, message) from fault
        except APITimeoutError as fault:
            raise self._of_timeout(fault) from fault
        except APIConnectionError as fault:
            raise self._of_connection(fault) from fault
        except APIStatusError as fault:
            raise self._of_status(fault) from fault
        except ValueError as fault:
            message = "the model's endpoint answered with something else than JSON"
            raise ModelFailed(PROTOCOL, message) from fault
        except OpenAIError as fault:
            raise ModelFailed(PROTOCOL, str(fault)) from fault

    def _body(self, question: Question) -> dict[str, Any]:
        body: dict[str, Any] = {
            "model": question.model,
            "messages": [{"role": role, "content": content} for role, content in question.messages],
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": ANSWER_NAME, "strict": True, "schema": question.schema},
            },
        }
        if question.max_tokens is not None:
            body[self._max_tokens] = question.max_tokens
        if question.temperature is not None:
            body["temperature"] = question.temperature
        return body

    def _of_timeout(self, fault: APITimeoutError) -> ModelFailed:
        if isinstance(fault.__cause__, httpx2.ConnectTimeout):
            message = f"{self._endpoint} takes no connection within {CONNECT_TIMEOUT_S:g} s"
            return ModelFailed(NETWORK, message)
        return ModelFailed(TIMEOUT, f"{self._endpoint} gave no answer for {ANSWER_TIMEOUT_S:g} s")

    def _of_connection(self, fault: APIConnectionError) -> ModelFailed:
        detail = str(fault.__cause__ or "")
        message = f"{self._endpoint} cannot be reached" + (f": {detail}" if detail else "")
        return ModelFailed(NETWORK, message)

    def _of_status(self, fault: APIStatusError) -> ModelFailed:
        response = fault.response
        try:
            document: Any = orjson.loads(response.content)
        except ValueError:
            document = response.text
        codes, message = error_parts(document)
        headers = cast("Mapping[str, str]", response.headers)
        wait_ms = retry_after_ms(
            headers.get("retry-after-ms"), headers.get("retry-after"), self._clock.now_ms()
        )
        return fault_of_status(fault.status_code, codes, message, wait_ms)


class EndpointTransport(GuardedTransport):
    """To one host and port, with no header but what the call needs.

    The package adds what it finds in the environment (organisation, project, custom headers) and
    a description of this machine; neither is the endpoint's business.
    """

    def __init__(self, endpoint: HostPort, key: SecretText, resolve: Resolve) -> None:
        super().__init__(EgressGuard(_OnlyEndpoint(endpoint), resolve), OPERATOR)
        self._endpoint = endpoint
        self._key = key

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        url = request.url
        pair = HostPort.normal(url.host, url.port or PORTS.get(url.scheme, 0))
        if pair != self._endpoint:
            raise EgressRefused(f"{pair} is not the endpoint {self._endpoint} of the operator.")
        headers = [
            (name, value)
            for name, value in request.headers.multi_items()
            if name.lower() in KEPT_HEADERS
        ]
        headers.append(("user-agent", USER_AGENT))
        if self._key.reveal():
            headers.append(("authorization", f"Bearer {self._key.reveal()}"))
        # Not in place: the package reads marks of its own from the request it made.
        outgoing = httpx2.Request(
            request.method,
            url,
            headers=headers,
            stream=request.stream,
            extensions=request.extensions,
        )
        return await super().handle_async_request(outgoing)


class _OnlyEndpoint:
    """Implements headrace_runtime.egress.AllowList."""

    def __init__(self, endpoint: HostPort) -> None:
        self._endpoint = endpoint

    async def allows(self, tenant: TenantId, pair: HostPort) -> bool:
        return pair == self._endpoint


def _name_of_max_tokens(host: str) -> str:
    newer = any(host == one or host.endswith(f".{one}") for one in NEWER_NAME_HOSTS)
    return "max_completion_tokens" if newer else "max_tokens"
