"""The DSN in a connection's secret: read strictly, so that nothing of this machine is used.

libpq fills gaps from the environment and from files (service, password and certificate files, a
socket folder); here they would be the service's own, so they are refused by name.
"""

from dataclasses import dataclass, field
from enum import StrEnum
from urllib.parse import parse_qsl, unquote, urlsplit


class TlsMode(StrEnum):
    """As libpq's sslmode. `verify-ca` is not offered: it accepts any holder of a certificate."""

    DISABLE = "disable"
    PREFER = "prefer"
    REQUIRE = "require"
    VERIFY_FULL = "verify-full"


PORT = 5432
SCHEMES = ("postgres", "postgresql")
IGNORED_PARAMETERS = frozenset({"application_name", "connect_timeout", "gssencmode"})


@dataclass(frozen=True, slots=True)
class Dsn:
    host: str
    port: int
    user: str
    password: str = field(repr=False)
    database: str
    tls: TlsMode


def parse_dsn(text: str) -> Dsn:
    """Raises ValueError; no message shows any part of the DSN."""
    try:
        parts = urlsplit(text.strip())
        host, port = parts.hostname, parts.port or PORT
    except ValueError:
        raise ValueError("it is not a well-formed URL (one host, one port)") from None
    if parts.scheme not in SCHEMES:
        raise ValueError("it is not of the form postgresql://user:password@host:5432/database")
    if not host or "/" in unquote(host) or "," in parts.netloc:
        raise ValueError("it must name exactly one host; sockets are not reachable from here")
    if not parts.username:
        raise ValueError("it names no user")
    user = unquote(parts.username)
    return Dsn(
        host=host,
        port=port,
        user=user,
        password=unquote(parts.password or ""),
        database=unquote(parts.path.removeprefix("/")) or user,
        tls=_tls(parts.query),
    )


def _tls(query: str) -> TlsMode:
    mode = TlsMode.PREFER
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name == "sslmode":
            if value not in set(TlsMode):
                raise ValueError(f"its sslmode is not one of {', '.join(TlsMode)}")
            mode = TlsMode(value)
        elif name not in IGNORED_PARAMETERS:
            raise ValueError("it has a parameter other than sslmode and application_name")
    return mode
