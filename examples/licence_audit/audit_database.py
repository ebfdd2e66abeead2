"""The customer's database of the demonstration: on the same server, with a login of its own."""

import secrets
from dataclasses import dataclass
from urllib.parse import urlsplit

import asyncpg

NAME = "licence_audit"
TABLE = """
create table package_licence (
    run text, name text, version text, licence text, verdict text, text_sha256 text,
    primary key (run, name)
)
"""


@dataclass(frozen=True, slots=True)
class AuditDatabase:
    """`dsn` is the login that the flow gets: it owns this database and may enter no other."""

    host: str
    port: int
    dsn: str

    async def count(self, run: str) -> int:
        connection = await asyncpg.connect(self.dsn)
        try:
            return await connection.fetchval(
                "select count(*) from package_licence where run = $1", run
            )
        finally:
            await connection.close()


async def make(superuser_dsn: str) -> AuditDatabase:
    """Anew: what an earlier demonstration left is dropped."""
    server = urlsplit(superuser_dsn)
    host, port = server.hostname or "127.0.0.1", server.port or 5432
    password = secrets.token_hex(16)
    connection = await asyncpg.connect(superuser_dsn)
    try:
        await connection.execute(f"drop database if exists {NAME}")
        await connection.execute(f"drop role if exists {NAME}")
        await connection.execute(f"create role {NAME} login password '{password}'")
        await connection.execute(f"create database {NAME} owner {NAME}")
    finally:
        await connection.close()
    database = AuditDatabase(host, port, f"postgresql://{NAME}:{password}@{host}:{port}/{NAME}")
    connection = await asyncpg.connect(database.dsn)
    try:
        await connection.execute(TABLE)
    finally:
        await connection.close()
    return database
