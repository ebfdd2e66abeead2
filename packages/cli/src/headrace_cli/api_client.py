"""The API over HTTP: documents in and out, refusals as errors of the one tree."""

from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import httpx

from headrace_core import errors
from headrace_core.errors import HeadraceError, InvalidInput, Unavailable

CONNECT_TIMEOUT_S = 5.0
READ_TIMEOUT_S = 75.0
"""Above the longest wait that the API allows."""


@dataclass(frozen=True, slots=True)
class Target:
    """`remedy` says what to do when nobody answers at `url`."""

    url: str
    key: str = field(repr=False)
    remedy: str = "Is the address right? Name it with --url or HEADRACE_URL."


class DefinitionRefused(InvalidInput):
    """`rendered` shows every fault with its line; `diagnostics` are the same for programs."""

    def __init__(self, message: str, document: Mapping[str, Any]) -> None:
        super().__init__(message, document.get("faults", ()))
        self.rendered: str = document["rendered"]
        self.diagnostics: list[Any] = document.get("diagnostics", [])


class UnclearAnswer(Unavailable):
    """The connection broke before the answer: the request may have been carried out."""


class ApiClient:
    """One target. Raises the errors that the API names, and Unavailable when nobody answers."""

    def __init__(self, target: Target, transport: httpx.BaseTransport | None = None) -> None:
        self.target = target
        self._http = httpx.Client(
            base_url=target.url,
            headers={"authorization": f"Bearer {target.key}"},
            timeout=httpx.Timeout(READ_TIMEOUT_S, connect=CONNECT_TIMEOUT_S),
            transport=transport,
            # A proxy of the environment must not see keys of a Headrace on this machine.
            trust_env=not _is_local(target.url),
        )

    def get(self, path: str, **parameters: str | int) -> Any:
        return self._call("GET", path, params=_present(parameters))

    def post(
        self, path: str, document: Any = None, headers: Mapping[str, str] | None = None
    ) -> Any:
        return self._call("POST", path, json=document, headers=headers)

    def post_text(self, path: str, text: bytes, **parameters: str) -> Any:
        return self._call(
            "POST",
            path,
            content=text,
            params=parameters,
            headers={"content-type": "application/yaml"},
        )

    def put(self, path: str, document: Any) -> Any:
        return self._call("PUT", path, json=document)

    def delete(self, path: str, **parameters: str | int) -> None:
        self._call("DELETE", path, params=parameters)

    @contextmanager
    def download(self, path: str) -> Generator[Iterator[bytes]]:
        """The answer in chunks."""
        with self._reachable(), self._http.stream("GET", path) as response:
            if response.is_error:
                response.read()
            _check(response, self.target)
            yield response.iter_bytes()

    def close(self) -> None:
        self._http.close()

    def _call(self, method: str, path: str, **arguments: Any) -> Any:
        with self._reachable():
            response = self._http.request(method, path, **arguments)
        _check(response, self.target)
        if not response.content:
            return None
        try:
            return response.json()
        except ValueError:
            raise not_headrace(self.target) from None

    @contextmanager
    def _reachable(self) -> Generator[None]:
        try:
            yield
        except (httpx.ConnectError, httpx.ConnectTimeout) as fault:
            raise unreachable(self.target) from fault
        except (httpx.UnsupportedProtocol, httpx.InvalidURL) as fault:
            raise InvalidInput(f"{self.target.url!r} is no address: http://host:port.") from fault
        except httpx.TransportError as fault:
            raise UnclearAnswer(
                f"The connection to {self.target.url} broke before the answer was complete "
                f"({type(fault).__name__}). Try again."
            ) from fault


def unreachable(target: Target) -> Unavailable:
    return Unavailable(f"No Headrace answers at {target.url}. {target.remedy}")


def not_headrace(target: Target) -> Unavailable:
    return Unavailable(f"What answers at {target.url} is no Headrace. {target.remedy}")


def problem_error(problem: Mapping[str, Any]) -> HeadraceError:
    """The error that a problem document names; one of an unknown code keeps its text."""
    code, detail = str(problem.get("code", "")), str(problem.get("detail", ""))
    faults = cast("list[str]", problem.get("faults", []))
    if "rendered" in problem:
        return DefinitionRefused(detail, problem)
    if code == InvalidInput.code:
        return InvalidInput(detail, faults)
    kind = _KINDS.get(code)
    return kind(detail) if kind is not None else HeadraceError(detail or "The API refused this.")


def _check(response: httpx.Response, target: Target) -> None:
    if not response.is_error:
        return
    try:
        problem = response.json()
    except ValueError:
        problem = None
    if not isinstance(problem, dict) or "detail" not in problem:
        raise not_headrace(target)
    raise problem_error(cast("dict[str, Any]", problem))


def _present(parameters: Mapping[str, str | int]) -> Mapping[str, str | int]:
    return {name: value for name, value in parameters.items() if value != ""}


def _is_local(url: str) -> bool:
    return url.partition("://")[2].startswith(("127.0.0.1", "localhost", "[::1]"))


def _kinds() -> Mapping[str, type[HeadraceError]]:
    tree = [one for one in vars(errors).values() if isinstance(one, type)]
    return {one.code: one for one in tree if issubclass(one, HeadraceError)}


_KINDS = _kinds()
