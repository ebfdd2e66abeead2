"""What attempts need of the outside: secrets, one HTTP exchange, statements of a database."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from headrace_connectors.domain.dsn import Dsn
from headrace_core.ids import TenantId
from headrace_runtime.secret_text import SecretText


class Secrets(Protocol):
    """`headrace_runtime.tenant_secrets.TenantSecrets`."""

    async def open(self, tenant: TenantId, name: str) -> SecretText: ...

    async def open_all(
        self, tenant: TenantId, names: Sequence[str]
    ) -> Mapping[str, SecretText]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpRequest:
    method: str
    url: str
    headers: Sequence[tuple[str, str]] = field(repr=False)
    content: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpAnswer:
    """`content` is decompressed; unless `complete` it was cut at the bound on bytes."""

    status: int
    reason: str
    headers: Mapping[str, str]
    content: bytes
    complete: bool


class HttpFailed(Exception):
    """No answer, or none that can be read. `sent` says whether the request may have arrived."""

    def __init__(self, error_type: str, message: str, *, sent: bool) -> None:
        super().__init__(message)
        self.error_type = error_type
        self.message = message
        self.sent = sent


class HttpExchanges(Protocol):
    async def exchange(
        self, tenant: TenantId, request: HttpRequest, sending: Callable[[], None]
    ) -> HttpAnswer:
        """One request to one address, redirects not followed. `sending` is called before the
        first byte. Raises HttpFailed, EgressRefused, InvalidInput for what is no URL."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Database:
    """`connection` is the name of the secret that holds the DSN."""

    tenant: TenantId
    connection: str
    dsn: Dsn


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """`rows_max` 0 takes every row, up to the service's own bound, which is an error."""

    sql: str
    parameters: Sequence[Any] = field(repr=False)
    rows_max: int = 0
    timeout_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class EffectKey:
    """`request` is the hash of what is asked for: a key stands for one request."""

    key: str
    request: bytes


@dataclass(frozen=True, slots=True)
class Rows:
    """`count` is how many there are, or how many were changed."""

    rows: Sequence[Mapping[str, Any]]
    count: int


class DatabaseFailed(Exception):
    """Nothing was done; in a transaction, it was rolled back. `sqlstate` is empty when the server
    could not be reached or the connection broke."""

    def __init__(self, message: str, sqlstate: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.sqlstate = sqlstate


class CommitLost(Exception):
    """The connection broke during the commit: nobody knows whether it holds."""


class AnswerTooLarge(Exception):
    """More rows or bytes than one answer may have; nothing was done."""


class KeyOfAnotherRequest(Exception):
    """The key stands for another request, which was carried out earlier."""


class Statements(Protocol):
    """Both raise DatabaseFailed, AnswerTooLarge, BadInput, EgressRefused, Unavailable."""

    async def query(self, database: Database, statement: Statement) -> Rows:
        """In a transaction that only reads."""
        ...

    async def execute(
        self,
        database: Database,
        statement: Statement,
        key: EffectKey | None,
        committing: Callable[[], None],
    ) -> Rows:
        """In a transaction together with the key, so that a repeat gets the first one's answer.
        `committing` is called before the commit. Raises CommitLost, KeyOfAnotherRequest."""
        ...
