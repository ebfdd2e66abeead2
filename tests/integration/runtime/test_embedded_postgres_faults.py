"""What stands in the way of the built-in server, and whether the words for it help."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from headrace_core.errors import SetupError
from headrace_runtime.postgres.binaries import find_binaries
from headrace_runtime.postgres.embedded import EmbeddedPostgres
from tests.support.postgres_sessions import execute, kill_and_wait, value

pytestmark = pytest.mark.postgres


def start_and_stop(server: EmbeddedPostgres) -> None:
    with server:
        assert server.poll() is None


def data_of(home: Path) -> Path:
    return home / "postgres" / f"data-{find_binaries().major}"


def test_a_stale_pid_file_with_a_reused_number_neither_confuses_nor_kills(
    postgres_home: Path,
) -> None:
    with EmbeddedPostgres(postgres_home) as server:
        execute(server.dsn(), "create table kept (n int); insert into kept values (7)")
        written = (data_of(postgres_home) / "postmaster.pid").read_text()
        kill_and_wait(server.pid)
    bystander = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        _, rest = written.split("\n", 1)
        (data_of(postgres_home) / "postmaster.pid").write_text(f"{bystander.pid}\n{rest}")
        with EmbeddedPostgres(postgres_home) as server:
            assert server.pid != bystander.pid
            assert value(server.dsn(), "select n from kept") == 7
        assert bystander.poll() is None
    finally:
        bystander.communicate(b"\n")


@pytest.mark.parametrize("text", ["", "not a number\n", "1\n"])
def test_a_damaged_pid_file_is_no_hindrance(postgres_home: Path, text: str) -> None:
    start_and_stop(EmbeddedPostgres(postgres_home))
    (data_of(postgres_home) / "postmaster.pid").write_text(text)
    start_and_stop(EmbeddedPostgres(postgres_home))


def test_a_database_of_another_major_version_is_refused_untouched(postgres_home: Path) -> None:
    other = postgres_home / "postgres" / "data-12"
    other.mkdir(parents=True)
    with pytest.raises(SetupError, match=r"PostgreSQL 12.*HEADRACE_POSTGRES_BINARIES.*version 12"):
        EmbeddedPostgres(postgres_home).start()
    assert list(other.iterdir()) == []
    assert not data_of(postgres_home).exists()


def test_a_version_file_of_another_major_version_is_refused(postgres_home: Path) -> None:
    start_and_stop(EmbeddedPostgres(postgres_home))
    (data_of(postgres_home) / "PG_VERSION").write_text("16\n")
    with pytest.raises(SetupError, match="holds a database of PostgreSQL 16"):
        EmbeddedPostgres(postgres_home).start()


def test_a_given_port_that_is_taken_is_named_with_the_way_out(postgres_home: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        server = EmbeddedPostgres(postgres_home, port)
        with pytest.raises(SetupError, match=rf"Port {port} on 127\.0\.0\.1 is taken.*0 picks"):
            server.start()
    server.start()
    assert server.port == port
    server.stop()


def test_a_kept_automatic_port_that_is_taken_is_drawn_anew(postgres_home: Path) -> None:
    server = EmbeddedPostgres(postgres_home)
    start_and_stop(server)
    with socket.create_server(("127.0.0.1", server.port)) as other:
        with EmbeddedPostgres(postgres_home) as again:
            assert again.port != other.getsockname()[1]
            kept = again.port
        with EmbeddedPostgres(postgres_home) as again:
            assert again.port == kept


def test_a_port_that_others_were_told_of_is_never_changed_behind_their_back(
    postgres_home: Path,
) -> None:
    server = EmbeddedPostgres(postgres_home)
    start_and_stop(server)
    with (
        socket.create_server(("127.0.0.1", server.port)),
        pytest.raises(SetupError, match=rf"Port {server.port} .* is taken"),
    ):
        server.start()


def test_a_second_supervisor_of_one_home_is_refused(postgres_home: Path) -> None:
    with EmbeddedPostgres(postgres_home) as server:
        second = EmbeddedPostgres(postgres_home)
        with pytest.raises(SetupError, match=rf"process {os.getpid()}\) already runs"):
            second.start()
        assert value(server.dsn(), "select 1") == 1


def test_a_data_folder_open_to_others_is_refused_with_the_command_that_closes_it(
    postgres_home: Path,
) -> None:
    start_and_stop(EmbeddedPostgres(postgres_home))
    data_of(postgres_home).chmod(0o755)
    with pytest.raises(SetupError, match=rf"chmod 700 {data_of(postgres_home)}"):
        EmbeddedPostgres(postgres_home).start()


def test_a_readable_password_file_is_refused_with_the_command_that_closes_it(
    postgres_home: Path,
) -> None:
    with EmbeddedPostgres(postgres_home) as server:
        secret = server.root / "superuser.password"
        secret.chmod(0o644)
        with pytest.raises(SetupError, match=rf"chmod 600 {secret}"):
            server.dsn()


def test_a_lost_password_file_is_said_and_not_replaced(postgres_home: Path) -> None:
    with EmbeddedPostgres(postgres_home) as server:
        secret = server.root / "superuser.password"
        secret.unlink()
        with pytest.raises(SetupError, match=r"superuser\.password is missing"):
            server.dsn()
        assert not secret.exists()


def test_a_home_that_cannot_be_made_is_said(postgres_home: Path) -> None:
    (postgres_home / "file").write_text("")
    with pytest.raises(SetupError, match=r"Cannot write .*file.*--home"):
        EmbeddedPostgres(postgres_home / "file" / "home").start()


def test_an_interrupted_creation_is_begun_again(postgres_home: Path) -> None:
    draft = postgres_home / "postgres" / f".data-{find_binaries().major}.partial"
    draft.mkdir(parents=True)
    (draft / "PG_VERSION").write_text("18\n")
    with EmbeddedPostgres(postgres_home) as server:
        assert value(server.dsn(), "select 1") == 1
    assert not draft.exists()


def test_a_setting_that_the_server_does_not_know_is_shown_in_its_own_words(
    postgres_home: Path,
) -> None:
    with pytest.raises(SetupError, match=r'did not start.*\n.*"no_such_setting"'):
        EmbeddedPostgres(postgres_home, settings={"no_such_setting": "1"}).start()
    start_and_stop(EmbeddedPostgres(postgres_home))


ON_A_SMALL_DISK = """
import subprocess, sys
from pathlib import Path
import asyncpg
from headrace_core.errors import SetupError
from headrace_runtime.postgres.embedded import EmbeddedPostgres
from tests.support.postgres_sessions import execute, value

disk, size = Path(sys.argv[1]), sys.argv[2]
subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", disk], check=True)
server = EmbeddedPostgres(disk / "home", settings={"min_wal_size": "32MB", "max_wal_size": "32MB"})
"""

TOO_SMALL_TO_BEGIN = """
try:
    server.start()
except SetupError as fault:
    print(fault.message)
"""

FILLED_WHILE_RUNNING = """
server.start()
execute(server.dsn(), "create table kept (n int, filler text)")
execute(server.dsn(), "alter table kept alter filler set storage plain")
stored = 0
try:
    while True:
        execute(
            server.dsn(),
            "insert into kept select g, repeat('x', 1000) from generate_series(1, 2000) g",
        )
        stored += 2000
except (asyncpg.PostgresError, OSError) as fault:
    print("refused:", type(fault).__name__)
server.stop()
with open(disk / "home" / "filler", "wb", buffering=0) as filler:
    try:
        while True:
            filler.write(bytes(4096))
    except OSError:
        pass
try:
    server.start()
except SetupError as fault:
    print("said:", fault.message)
server.stop()
(disk / "home" / "filler").unlink()
subprocess.run(["mount", "-o", "remount,size=400m", disk], check=True)
server.start()
# The insert that failed is either whole or absent; those before it were acknowledged.
assert value(server.dsn(), "select count(*) from kept") in (stored, stored + 2000)
execute(server.dsn(), "insert into kept values (1)")
server.stop()
print("kept")
"""


def on_a_small_disk(folder: Path, size: str, script: str) -> str:
    """Output of a script whose home is a tmpfs of this size, in a mount namespace of its own."""
    allowed = subprocess.run(["unshare", "-m", "true"], check=False, capture_output=True)
    if allowed.returncode != 0:
        pytest.skip("this machine gives no mount namespace")
    done = subprocess.run(
        ["unshare", "-m", sys.executable, "-c", ON_A_SMALL_DISK + script, folder, size],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[3],
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_disk_too_small_for_a_database_is_said_and_left_clean(postgres_home: Path) -> None:
    said = on_a_small_disk(postgres_home, "12m", TOO_SMALL_TO_BEGIN)
    assert "No space left on the disk" in said
    assert str(postgres_home) in said
    assert "free some space" in said


def test_a_disk_that_fills_up_refuses_writes_and_loses_nothing(postgres_home: Path) -> None:
    said = on_a_small_disk(postgres_home, "120m", FILLED_WHILE_RUNNING)
    refused, explained, kept = said.splitlines()
    assert refused.startswith("refused:")
    assert explained.startswith("said: No space left on the disk")
    assert kept == "kept"
