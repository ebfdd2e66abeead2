"""TLS to a tenant's database: the connection goes to a checked address, the name is verified."""

import asyncio
import ssl
import struct
from collections.abc import AsyncGenerator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from headrace_connectors.adapters.postgres_pools import PostgresPools
from headrace_connectors.app.ports import Database, DatabaseFailed
from headrace_connectors.domain.dsn import parse_dsn
from headrace_core.ids import TenantId
from headrace_runtime.egress import EgressGuard, HostPort
from tests.support.postgres import PostgresForTests

pytestmark = pytest.mark.postgres

NAME = "db.example.test"
SSL_REQUEST = struct.pack("!ii", 8, 80_877_103)


class Everything:
    """Every pair is on the list of every tenant."""

    async def allows(self, tenant: TenantId, pair: HostPort) -> bool:
        return True


async def here(host: str, port: int) -> Sequence[str]:
    return ["127.0.0.1"]


@pytest.fixture
async def pools() -> AsyncGenerator[PostgresPools]:
    pools = PostgresPools(EgressGuard(Everything(), here))
    yield pools
    await pools.close()


def certificate(folder: Path) -> tuple[Path, Path]:
    """Certificate and key of NAME, signed by itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, NAME)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(NAME)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    files = folder / "server.crt", folder / "server.key"
    files[0].write_bytes(made.public_bytes(serialization.Encoding.PEM))
    files[1].write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return files


class TlsFront:
    """Speaks TLS to clients that ask for it and passes on to a server that does not."""

    def __init__(self, port: int, context: ssl.SSLContext) -> None:
        self._port = port
        self._context = context
        self._serving: set[asyncio.Task[None]] = set()
        self.port = 0
        self.tls_sessions = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        try:
            await self._pass_on(reader, writer)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            # Swallowed: asyncio reports a cancelled handler of a stream as a fault.
            return
        finally:
            self._serving.discard(task)
            writer.close()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first = await reader.readexactly(8)
        if first == SSL_REQUEST:
            writer.write(b"S")
            await writer.start_tls(self._context)
            self.tls_sessions += 1
            first = b""
        inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", self._port)
        inner_writer.write(first)
        back = asyncio.create_task(copy(inner_reader, writer))
        try:
            await copy(reader, inner_writer)
        finally:
            back.cancel()
            inner_writer.close()

    async def close(self) -> None:
        for task in tuple(self._serving):
            task.cancel()
        if self._serving:
            await asyncio.wait(self._serving)


async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    except OSError:
        return


@pytest.fixture
async def front(
    postgres: PostgresForTests, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncGenerator[TlsFront]:
    """Its certificate is one that this process trusts."""
    public, private = certificate(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(public))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(public, private)
    front = TlsFront(postgres.server.port, context)
    server = await asyncio.start_server(front.serve, "127.0.0.1", 0)
    front.port = server.sockets[0].getsockname()[1]
    yield front
    server.close()
    await front.close()


def database(dsn: str, host: str, mode: str, port: int | None = None) -> Database:
    parts = urlsplit(dsn)
    login = parts.netloc.rpartition("@")[0]
    text = f"{parts.scheme}://{login}@{host}:{port or parts.port}{parts.path}?sslmode={mode}"
    return Database(tenant=TenantId("acme"), connection=f"{host}-{mode}", dsn=parse_dsn(text))


async def answer(pools: PostgresPools, wanted: Database) -> int:
    async with pools.connection(wanted) as session:
        return await session.fetchval("select 7")


async def test_without_tls_at_the_server_only_the_modes_that_may_go_without_connect(
    pools: PostgresPools, postgres: PostgresForTests
) -> None:
    dsn = postgres.server.dsn()
    for mode in ("disable", "prefer"):
        assert await answer(pools, database(dsn, "127.0.0.1", mode)) == 7
    for mode in ("require", "verify-full"):
        with pytest.raises(DatabaseFailed, match="rejected SSL upgrade"):
            await answer(pools, database(dsn, "127.0.0.1", mode))


async def test_with_tls_the_name_of_the_dsn_is_verified_at_the_checked_address(
    pools: PostgresPools, postgres: PostgresForTests, front: TlsFront
) -> None:
    dsn = postgres.server.dsn()
    assert await answer(pools, database(dsn, NAME, "disable", front.port)) == 7
    assert front.tls_sessions == 0
    for mode in ("prefer", "require", "verify-full"):
        assert await answer(pools, database(dsn, NAME, mode, front.port)) == 7
    assert front.tls_sessions == 3
    other = "other.example.test"
    with pytest.raises(DatabaseFailed, match=r"(?i)hostname mismatch"):
        await answer(pools, database(dsn, other, "verify-full", front.port))
    assert await answer(pools, database(dsn, other, "require", front.port)) == 7


async def test_a_certificate_of_nobody_known_is_refused(
    pools: PostgresPools,
    postgres: PostgresForTests,
    front: TlsFront,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")
    wanted = database(postgres.server.dsn(), NAME, "verify-full", front.port)
    with pytest.raises(DatabaseFailed, match="self-signed certificate"):
        await answer(pools, wanted)
