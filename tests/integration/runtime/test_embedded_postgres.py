"""The built-in server in its ordinary life: start, stop, crash, and who may log in."""

import asyncio
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import asyncpg
import pytest

from headrace_runtime.postgres.binaries import SYSTEM_ROOT
from headrace_runtime.postgres.embedded import EmbeddedPostgres
from headrace_runtime.postgres.pool import CONNECTION_LOST
from tests.support.postgres_sessions import execute, kill_and_wait, value

pytestmark = pytest.mark.postgres


def test_rows_and_port_survive_a_restart(postgres_home: Path) -> None:
    with EmbeddedPostgres(postgres_home) as server:
        execute(server.dsn(), "create table kept (n int); insert into kept values (7)")
        port = server.port
    with EmbeddedPostgres(postgres_home) as server:
        assert server.port == port
        assert value(server.dsn(), "select n from kept") == 7


def test_committed_rows_survive_a_killed_server_under_the_same_address(postgres_home: Path) -> None:
    with EmbeddedPostgres(postgres_home) as server:
        execute(server.dsn(), "create table kept (n int); insert into kept values (7)")
        dsn, killed = server.dsn(), server.pid
        kill_and_wait(killed)
        assert server.poll() == -signal.SIGKILL
        server.start()
        assert server.pid != killed
        assert value(dsn, "select n from kept") == 7


def test_a_server_that_was_killed_over_and_over_comes_back(postgres_home: Path) -> None:
    with EmbeddedPostgres(postgres_home) as server:
        execute(server.dsn(), "create table kept (n int)")
        for n in range(4):
            execute(server.dsn(), f"insert into kept values ({n})")
            kill_and_wait(server.pid)
            server.start()
        assert value(server.dsn(), "select count(*) from kept") == 4


def test_every_acknowledged_row_of_busy_sessions_survives_a_killed_server(
    postgres_home: Path,
) -> None:
    acknowledged = 0

    async def insert_until_cut_off(dsn: str, begun: asyncio.Event) -> None:
        nonlocal acknowledged
        connection = await asyncpg.connect(dsn)
        try:
            while True:
                await connection.execute("insert into kept select generate_series(1, 50)")
                acknowledged += 50
                begun.set()
        except CONNECTION_LOST:
            connection.terminate()

    async def run(server: EmbeddedPostgres) -> None:
        begun = [asyncio.Event() for _ in range(6)]
        async with asyncio.timeout(40), asyncio.TaskGroup() as sessions:
            for event in begun:
                sessions.create_task(insert_until_cut_off(server.dsn(), event))
            for event in begun:
                await event.wait()
            kill_and_wait(server.pid)
            server.start()

    with EmbeddedPostgres(postgres_home) as server:
        execute(server.dsn(), "create table kept (n int)")
        asyncio.run(run(server))
        stored = value(server.dsn(), "select count(*) from kept")
        assert isinstance(stored, int)
        # At most the one statement in flight of each session may have landed unacknowledged.
        assert acknowledged <= stored <= acknowledged + 6 * 50


def test_starting_a_running_server_changes_nothing(postgres_home: Path) -> None:
    with EmbeddedPostgres(postgres_home) as server:
        before = server.pid
        server.start()
        assert server.pid == before
        assert server.poll() is None


def test_a_stopped_server_has_no_process_and_can_be_started_again(postgres_home: Path) -> None:
    server = EmbeddedPostgres(postgres_home)
    server.start()
    pid, port = server.pid, server.port
    assert pid is not None
    server.stop()
    server.stop()
    assert not Path(f"/proc/{pid}").exists()
    assert server.pid is None
    server.start()
    assert server.port == port
    server.stop()


def test_the_server_lets_nobody_in_without_the_password(postgres_home: Path) -> None:
    with EmbeddedPostgres(postgres_home) as server:
        with pytest.raises(asyncpg.InvalidPasswordError):
            value(f"postgresql://postgres:guess@127.0.0.1:{server.port}/postgres", "select 1")
        assert value(server.dsn(), "show unix_socket_directories") == ""
        assert value(server.dsn(), "show listen_addresses") == "127.0.0.1"
        secret = server.root / "superuser.password"
        assert stat.S_IMODE(secret.stat().st_mode) == 0o600
        assert secret.read_text() not in server.log_file.read_text()


def test_durability_is_on_and_the_sizes_are_ours(postgres_home: Path) -> None:
    with EmbeddedPostgres(postgres_home) as server:
        for name, wanted in {
            "fsync": "on",
            "full_page_writes": "on",
            "synchronous_commit": "on",
            "data_checksums": "on",
            "shared_buffers": "128MB",
            "max_connections": "60",
            "max_locks_per_transaction": "512",
            "jit": "off",
            "server_encoding": "UTF8",
            "TimeZone": "UTC",
        }.items():
            assert value(server.dsn(), f"show {name}") == wanted, name
        assert value(server.dsn(), "select lower('ÄÖ')") == "äö"


def test_given_settings_overrule_the_usual_ones(postgres_home: Path) -> None:
    with EmbeddedPostgres(postgres_home, settings={"max_connections": "20"}) as server:
        assert value(server.dsn(), "show max_connections") == "20"


@pytest.mark.parametrize("binaries", sorted(SYSTEM_ROOT.glob("*/bin")), ids=str)
def test_a_system_installation_serves_as_well(postgres_home: Path, binaries: Path) -> None:
    for _ in range(2):
        with EmbeddedPostgres(postgres_home, binaries=binaries) as server:
            assert str(value(server.dsn(), "show server_version")).startswith(binaries.parent.name)
            assert value(server.dsn(), "select lower('ÄÖ')") == "äö"
            assert value(server.dsn(), "show data_checksums") == "on"
            kill_and_wait(server.pid)


def test_the_server_stops_cleanly_when_its_supervisor_is_killed(postgres_home: Path) -> None:
    supervisor, pid = start_in_other_process(postgres_home)
    server = os.pidfd_open(pid)
    supervisor.kill()
    supervisor.communicate()
    # Readable as soon as the process has ended.
    asyncio.run(asyncio.wait_for(readable(server), timeout=30))
    os.close(server)
    with EmbeddedPostgres(postgres_home) as again:
        assert value(again.dsn(), "select n from kept") == 7
        assert "was not properly shut down" not in again.log_file.read_text()


def test_a_new_supervisor_takes_over_at_once_from_a_killed_one(postgres_home: Path) -> None:
    supervisor, _ = start_in_other_process(postgres_home)
    supervisor.kill()
    supervisor.communicate()
    with EmbeddedPostgres(postgres_home) as again:
        assert value(again.dsn(), "select n from kept") == 7


def start_in_other_process(home: Path) -> tuple[subprocess.Popen[str], int]:
    """A supervisor of its own with one row stored, and its server's process id."""
    supervisor = subprocess.Popen(
        [sys.executable, "-c", SUPERVISOR, str(home)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert supervisor.stdout is not None
    return supervisor, int(supervisor.stdout.readline())


SUPERVISOR = """
import asyncio, sys
from pathlib import Path
import asyncpg
from headrace_runtime.postgres.binaries import SYSTEM_ROOT
from headrace_runtime.postgres.embedded import EmbeddedPostgres

async def fill(dsn):
    connection = await asyncpg.connect(dsn)
    await connection.execute("create table kept (n int); insert into kept values (7)")
    await connection.close()

server = EmbeddedPostgres(Path(sys.argv[1]))
server.start()
asyncio.run(fill(server.dsn()))
print(server.pid, flush=True)
sys.stdin.read()
"""


async def readable(descriptor: int) -> None:
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(descriptor, ended.set)
    try:
        await ended.wait()
    finally:
        loop.remove_reader(descriptor)
