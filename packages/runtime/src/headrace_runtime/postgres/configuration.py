"""What postgresql.conf and pg_hba.conf of the built-in server say. Written anew at each start.

An administrator's own values go through ALTER SYSTEM (postgresql.auto.conf), which wins.
"""

from collections.abc import Mapping
from pathlib import Path

from headrace_runtime.postgres.sql import literal

HOST = "127.0.0.1"

SETTINGS: Mapping[str, str] = {
    "listen_addresses": HOST,
    # Loopback TCP with passwords is the only door.
    "unix_socket_directories": "",
    "password_encryption": "scram-sha-256",
    "max_connections": "60",
    "shared_buffers": "128MB",
    "max_wal_size": "1GB",
    "min_wal_size": "256MB",
    "checkpoint_timeout": "15min",
    # One transaction over many tenants' schemas takes a dozen locks for each.
    "max_locks_per_transaction": "512",
    "fsync": "on",
    "full_page_writes": "on",
    "synchronous_commit": "on",
    "jit": "off",
    "idle_in_transaction_session_timeout": "30s",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "lc_messages": "C",
    "log_line_prefix": "%m [%p] %q%a ",
    # Statements and the keys in a DETAIL line may hold users' data or secrets.
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
}

ACCESS = f"""\
# Written at each start: TCP on this machine, with a password.
host all all {HOST}/32 scram-sha-256
"""


def server_configuration(port: int, overrides: Mapping[str, str]) -> str:
    settings = {**SETTINGS, **overrides, "port": str(port)}
    lines = [f"{name} = {literal(value)}" for name, value in settings.items()]
    return "\n".join(
        ["# Written at each start. Use ALTER SYSTEM for values of your own.", *lines, ""]
    )


def initdb_arguments(major: int, data: Path, password_file: Path) -> list[str]:
    # From 17 on the server brings its own Unicode tables: no locale of the system is needed.
    locale = (
        ["--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        if major >= 17
        else ["--locale=C.UTF-8"]
    )
    return [
        *locale,
        "--encoding=UTF8",
        "--username=postgres",
        "--auth=scram-sha-256",
        f"--pwfile={password_file}",
        "--data-checksums",
        "--no-instructions",
        f"--pgdata={data}",
    ]
