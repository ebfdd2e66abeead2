"""One login role per service, and which schemas each owns, reads and writes.

A schema is created here, owned by its service, which then migrates it; default privileges give
the readers named in `SERVICE_ROLES` their rights on every table that the owner makes later, so no
migration holds a GRANT. History alone may create schemas: it owns the tenants'.
"""

import base64
import hashlib
import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from headrace_runtime.postgres.pool import Connection, open_connection
from headrace_runtime.postgres.secret_file import read_or_create_secret
from headrace_runtime.postgres.sql import identifier, literal, load_statements

STATEMENTS = load_statements(Path(__file__).with_name("roles.sql"))
DATABASE = "headrace"
SCRAM_ITERATIONS = 4096
READ = "select"
WRITE = "select, insert, update, delete"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceRole:
    """`writes` are schemas of another service in which this one changes rows too."""

    service: str
    owns: tuple[str, ...]
    reads: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    creates_schemas: bool = False

    @property
    def role(self) -> str:
        return f"headrace_{self.service.replace('-', '_')}"


SERVICE_ROLES = (
    ServiceRole(
        service="scheduler",
        owns=("headrace_log", "headrace_scheduler"),
        reads=("headrace_control", "headrace_keys"),
        writes=("headrace_effects",),
    ),
    ServiceRole(
        service="executor",
        owns=("headrace_effects",),
        reads=("headrace_control", "headrace_keys", "headrace_vault"),
    ),
    ServiceRole(
        service="connectors",
        owns=("headrace_vault",),
        reads=("headrace_control",),
    ),
    ServiceRole(
        service="history",
        owns=("headrace_history",),
        reads=("headrace_log", "headrace_control", "headrace_keys"),
        creates_schemas=True,
    ),
    ServiceRole(
        service="api-gateway",
        owns=("headrace_control", "headrace_keys"),
        reads=("headrace_scheduler",),
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """A DSN per service. `shared_role_reason` says why all of them are the given one."""

    dsns: Mapping[str, str]
    shared_role_reason: str | None = None


async def provision_embedded(dsn: str, passwords: Path) -> Access:
    """Database, roles and schemas on our own server; may be called at every start.

    `dsn` is the superuser's. `passwords` is a folder of our own; lost passwords are drawn anew.
    """
    await create_database(dsn, DATABASE)
    connection = await open_connection(_with_database(dsn, DATABASE), application_name="headrace")
    try:
        async with connection.transaction():
            await connection.execute(STATEMENTS["lock"])
            await connection.execute(f"revoke all on database {DATABASE} from public")
            for role in SERVICE_ROLES:
                await ensure_login(connection, role.role, _password(passwords, role.role))
            await _grant(connection, DATABASE)
    finally:
        await connection.close()
    return Access(dsns=_service_dsns(_with_database(dsn, DATABASE), passwords))


async def provision_external(dsn: str, passwords: Path) -> Access:
    """Roles and schemas in the database that `dsn` names, if its role may create them.

    Otherwise, or where roles of an installation with other passwords exist, every service uses
    `dsn` itself and its schemas are created as it goes.
    """
    connection = await open_connection(dsn, application_name="headrace")
    try:
        async with connection.transaction():
            await connection.execute(STATEMENTS["lock"])
            reason = await _why_not_own_roles(connection, passwords)
            if reason is None:
                for role in SERVICE_ROLES:
                    await ensure_login(connection, role.role, _password(passwords, role.role))
                    # Not implied: a creator that is no superuser may not act as what it created.
                    await connection.execute(f"grant {role.role} to current_user")
                database = await connection.fetchval("select current_database()")
                await _grant(connection, database)
    finally:
        await connection.close()
    if reason is not None:
        dsns = {role.service: dsn for role in SERVICE_ROLES}
        return Access(dsns=dsns, shared_role_reason=reason)
    return Access(dsns=_service_dsns(dsn, passwords))


async def create_database(dsn: str, name: str, owner: str | None = None) -> None:
    """Unless it exists. `dsn` must be of a role that may create databases."""
    connection = await open_connection(dsn, application_name="headrace")
    try:
        if not await connection.fetchval(STATEMENTS["has_database"], name):
            owned = f" owner {identifier(owner)}" if owner else ""
            await connection.execute(f"create database {identifier(name)}{owned}")
    finally:
        await connection.close()


async def ensure_login(connection: Connection, role: str, password: str) -> None:
    """A login role with this password and no other power. The server never sees the password."""
    exists = await connection.fetchval(STATEMENTS["has_role"], role)
    verb = "alter" if exists else "create"
    verifier = literal(scram_verifier(password, secrets.token_bytes(16)))
    await connection.execute(f"{verb} role {identifier(role)} login password {verifier}")


def scram_verifier(password: str, salt: bytes) -> str:
    """What PostgreSQL stores for a SCRAM-SHA-256 password (RFC 5803); ASCII passwords only."""
    salted = hashlib.pbkdf2_hmac("sha256", password.encode("ascii"), salt, SCRAM_ITERATIONS)
    client_key = hmac.digest(salted, b"Client Key", "sha256")
    stored_key = base64.b64encode(hashlib.sha256(client_key).digest()).decode()
    server_key = base64.b64encode(hmac.digest(salted, b"Server Key", "sha256")).decode()
    shown_salt = base64.b64encode(salt).decode()
    return f"SCRAM-SHA-256${SCRAM_ITERATIONS}:{shown_salt}${stored_key}:{server_key}"


async def _why_not_own_roles(connection: Connection, passwords: Path) -> str | None:
    rights = await connection.fetchrow(STATEMENTS["rights"])
    assert rights is not None, "a role is always found"
    if not rights["may_create_roles"]:
        return f"role {rights['role']} may not create roles"
    if not rights["may_pass_on_create"]:
        return f"role {rights['role']} does not own this database"
    for role in SERVICE_ROLES:
        known = _password_file(passwords, role.role).exists()
        if not known and await connection.fetchval(STATEMENTS["has_role"], role.role):
            return f"role {role.role} exists and its password is not in {passwords}"
        for schema in role.owns:
            owner = await connection.fetchval(STATEMENTS["schema_owner"], schema)
            if owner not in (None, role.role):
                return f"schema {schema} belongs to role {owner}"
    return None


async def _grant(connection: Connection, database: str) -> None:
    quoted = '"' + database.replace('"', '""') + '"'
    for role in SERVICE_ROLES:
        rights = "connect, create" if role.creates_schemas else "connect"
        await connection.execute(f"grant {rights} on database {quoted} to {role.role}")
        for schema in role.owns:
            if await connection.fetchval(STATEMENTS["schema_owner"], schema) is None:
                await connection.execute(f"create schema {schema} authorization {role.role}")
    owners = {schema: role.role for role in SERVICE_ROLES for schema in role.owns}
    for role in SERVICE_ROLES:
        for schema, rights in [(s, READ) for s in role.reads] + [(s, WRITE) for s in role.writes]:
            for statement in _grants(schema, owners[schema], role.role, rights):
                await connection.execute(statement)


def _grants(schema: str, owner: str, user: str, rights: str) -> list[str]:
    defaults = f"alter default privileges for role {owner} in schema {schema}"
    statements = [
        f"grant usage on schema {schema} to {user}",
        f"grant {rights} on all tables in schema {schema} to {user}",
        f"{defaults} grant {rights} on tables to {user}",
    ]
    if rights == WRITE:
        statements.append(f"grant usage on all sequences in schema {schema} to {user}")
        statements.append(f"{defaults} grant usage on sequences to {user}")
    return statements


def _service_dsns(dsn: str, passwords: Path) -> dict[str, str]:
    return {
        role.service: _with_login(dsn, role.role, _password(passwords, role.role))
        for role in SERVICE_ROLES
    }


def _with_login(dsn: str, role: str, password: str) -> str:
    parts = urlsplit(dsn)
    place = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{role}:{password}@{place}"))


def _with_database(dsn: str, database: str) -> str:
    return urlunsplit(urlsplit(dsn)._replace(path=f"/{database}"))


def _password(passwords: Path, role: str) -> str:
    passwords.mkdir(mode=0o700, parents=True, exist_ok=True)
    return read_or_create_secret(_password_file(passwords, role))


def _password_file(passwords: Path, role: str) -> Path:
    return passwords / f"{role}.password"
