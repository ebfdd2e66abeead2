"""http.get, head, post, put, patch, delete."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast
from urllib.parse import parse_qsl, urlencode, urljoin, urlsplit, urlunsplit

import orjson
from pydantic import Field

from headrace_connector_sdk import (
    ActionCall,
    ActionInput,
    BadInput,
    Connector,
    Idempotency,
    Outcome,
    authorisation_of,
    read_input,
)
from headrace_connectors.app.ports import HttpAnswer, HttpExchanges, HttpFailed, HttpRequest
from headrace_connectors.domain import http_answers
from headrace_core.ids import TenantId
from headrace_core.workflow.builtin_actions import HTTP_ACTIONS
from headrace_runtime.clock import Clock

REDIRECTS_MAX = 5
USER_AGENT = "Headrace"
IDEMPOTENCY_KEY = "idempotency-key"
FORM = "application/x-www-form-urlencoded"
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_HEADER_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
# They belong to the connection, which is ours, or would contradict the URL.
_OURS = frozenset(
    {
        "accept-encoding",
        "connection",
        "content-length",
        "expect",
        "host",
        "keep-alive",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)

Scalar = str | int | float | bool


class Input(ActionInput):
    url: str = Field(min_length=1, max_length=8_192)
    headers: Mapping[str, Scalar] = {}
    query: Mapping[str, Scalar | Sequence[Scalar] | None] = {}
    auth: str | None = None


class InputWithBody(Input):
    body: Any = None


@dataclass(frozen=True, slots=True)
class HttpActions:
    exchanges: HttpExchanges
    clock: Clock

    async def run(self, call: ActionCall) -> Outcome:
        method = call.action.name.removeprefix("http.").upper()
        model = Input if method in ("GET", "HEAD") else InputWithBody
        given = read_input(model, call.input)
        request = _request(method, given, call)
        return await self._follow(call, request)

    async def _follow(self, call: ActionCall, request: HttpRequest) -> Outcome:
        for _ in range(REDIRECTS_MAX + 1):
            try:
                answer = await self.exchanges.exchange(
                    TenantId(call.tenant), request, call.context.acting
                )
            except HttpFailed as fault:
                return _no_answer(call, fault)
            if answer.status not in http_answers.REDIRECTS or "location" not in answer.headers:
                return self._outcome(call, answer)
            target = urljoin(request.url, answer.headers["location"])
            following = _redirected(request, answer.status, target)
            if following is None:
                return _not_followed(call, answer.status, target)
            request = following
        return call.lost("http.redirects", f"More than {REDIRECTS_MAX} redirects.")

    def _outcome(self, call: ActionCall, answer: HttpAnswer) -> Outcome:
        answered = 200 <= answer.status < 300 or (answer.status == 304 and call.only_reads)
        if not answered:
            wait_ms = http_answers.retry_after_ms(
                answer.headers.get("retry-after"), self.clock.now_ms()
            )
            excerpt = http_answers.excerpt_of(answer.content)
            return http_answers.failure_of(call, answer.status, answer.reason, excerpt, wait_ms)
        if not answer.complete:
            message = f"the answer is larger than the {len(answer.content)} bytes that are taken"
            if call.only_reads:
                return Outcome.permanent("output.invalid", message)
            return Outcome.unknown(f"the server answered {answer.status}, but {message}")
        try:
            body = http_answers.read_body(answer.content, answer.headers.get("content-type", ""))
        except ValueError:
            return call.lost("output.invalid", "The answer says that it is JSON and is not.")
        headers = http_answers.shown_headers(answer.headers)
        return Outcome.success({"status": answer.status, "headers": headers, "body": body})


def http_connector(exchanges: HttpExchanges, clock: Clock) -> Connector:
    run = HttpActions(exchanges, clock).run
    actions = {action.name: (action, run) for action in HTTP_ACTIONS}
    return Connector(id="http", title="HTTP", actions=actions)


def _request(method: str, given: Input, call: ActionCall) -> HttpRequest:
    """Raises BadInput."""
    headers = {"user-agent": USER_AGENT, "accept": "*/*"}
    for name, value in given.headers.items():
        headers[_header_name(name)] = _header_value(name, _text(value))
    if given.auth is not None:
        if "authorization" in headers:
            raise BadInput("auth: there is an Authorization header too; give one of the two")
        call.context.hide(given.auth)
        try:
            headers["authorization"] = authorisation_of(given.auth).header
        except ValueError as fault:
            raise BadInput(f"auth: {fault}") from None
    if call.action.idempotency is Idempotency.HEADER and call.idempotency_key:
        headers.setdefault(IDEMPOTENCY_KEY, _header_value("Idempotency-Key", call.idempotency_key))
    content = b""
    if isinstance(given, InputWithBody) and "body" in given.model_fields_set:
        content, content_type = _content(given.body, headers.get("content-type", ""))
        headers.setdefault("content-type", content_type)
    url = _with_query(given.url, given.query)
    return HttpRequest(method=method, url=url, headers=list(headers.items()), content=content)


def _header_name(name: str) -> str:
    lower = name.strip().lower()
    if not _HEADER_NAME.fullmatch(lower):
        raise BadInput(f"headers: {name[:60]!r} is not the name of a header")
    if lower in _OURS:
        raise BadInput(f"headers: {lower} is set by Headrace itself")
    return lower


def _header_value(name: str, value: str) -> str:
    if not _HEADER_VALUE.fullmatch(value):
        raise BadInput(f"headers: the value of {name[:60]} holds characters that no header can")
    return value


def _content(body: Any, content_type: str) -> tuple[bytes, str]:
    """Text goes as it is, an object as a form where the header says so, all else as JSON."""
    if content_type.startswith(FORM) and isinstance(body, Mapping):
        fields = cast("Mapping[str, Any]", body)
        return urlencode(fields, doseq=True).encode(), FORM
    if isinstance(body, str) and not http_answers.is_json(_media_type(content_type)):
        return body.encode(), "text/plain; charset=utf-8"
    return orjson.dumps(body), "application/json"


def _media_type(content_type: str) -> str:
    return content_type.partition(";")[0].strip().lower()


def _with_query(url: str, query: Mapping[str, Scalar | Sequence[Scalar] | None]) -> str:
    pairs: list[tuple[str, str]] = []
    for name, value in query.items():
        values = [value] if isinstance(value, str | int | float) else value or ()
        pairs += [(name, _text(one)) for one in values]
    try:
        parts = urlsplit(url)
    except ValueError as fault:
        raise BadInput(f"url: it is not well formed: {fault}") from None
    if pairs:
        known = parse_qsl(parts.query, keep_blank_values=True)
        parts = parts._replace(query=urlencode([*known, *pairs]))
    return urlunsplit(parts._replace(fragment=""))


def _text(value: Scalar) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _no_answer(call: ActionCall, fault: HttpFailed) -> Outcome:
    if fault.sent:
        return call.lost(fault.error_type, fault.message)
    return Outcome.retry(fault.error_type, fault.message)


def _redirected(request: HttpRequest, status: int, target: str) -> HttpRequest | None:
    """The next request; None where following would not do what was asked for."""
    method = http_answers.method_after(status, request.method)
    same_origin = _origin(request.url) == _origin(target)
    if method is None or (request.url.startswith("https:") and not target.startswith("https:")):
        return None
    # A body goes to nobody for whom it was not meant.
    if request.content and method == request.method and not same_origin:
        return None
    kept = request.headers
    if not same_origin:
        kept = [(name, value) for name, value in kept if name in http_answers.HARMLESS_HEADERS]
    if method != request.method:
        kept = [(name, value) for name, value in kept if not name.startswith("content-")]
        return replace(request, method=method, url=target, headers=kept, content=b"")
    return replace(request, url=target, headers=kept)


def _origin(url: str) -> tuple[str, str, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname or "", parts.port


def _not_followed(call: ActionCall, status: int, target: str) -> Outcome:
    message = (
        f"The server answered {status} and points to {_without_query(target)}, where this "
        "request is not sent by itself: correct the URL."
    )
    # Many a server answers a POST that it has carried out with 302.
    if status == 302 and not call.only_reads:
        return call.lost("http.302", message)
    return Outcome.permanent(f"http.{status}", message)


def _without_query(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
