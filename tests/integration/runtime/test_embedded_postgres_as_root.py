"""Root starts the built-in server, which refuses root: both ways of giving up its rights."""

import os
import pwd
import shutil
import sys
from pathlib import Path

import pytest

from headrace_core.errors import SetupError
from headrace_runtime.postgres.binaries import find_binaries
from headrace_runtime.postgres.embedded import EmbeddedPostgres
from headrace_runtime.postgres.identity import Identity, Launcher
from tests.support.postgres_sessions import execute, value

pytestmark = [
    pytest.mark.postgres,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root has rights to give up"),
]


@pytest.mark.parametrize("identity", [Identity.USER_NAMESPACE, Identity.NOBODY])
def test_root_gives_up_its_rights_either_way(postgres_home: Path, identity: Identity) -> None:
    with EmbeddedPostgres(postgres_home, identity=identity) as server:
        execute(server.dsn(), "create table kept (n int); insert into kept values (7)")
        seen_from_outside = Path(f"/proc/{server.pid}").stat().st_uid
        nobody = pwd.getpwnam("nobody").pw_uid
        assert seen_from_outside == (nobody if identity is Identity.NOBODY else 0)
        capabilities = Path(f"/proc/{server.pid}/status").read_text()
        assert "CapEff:\t0000000000000000" in capabilities


def test_a_database_follows_when_root_gives_up_its_rights_the_other_way(
    postgres_home: Path,
) -> None:
    with EmbeddedPostgres(postgres_home, identity=Identity.USER_NAMESPACE) as server:
        execute(server.dsn(), "create table kept (n int); insert into kept values (7)")
    for identity in (Identity.NOBODY, Identity.USER_NAMESPACE):
        with EmbeddedPostgres(postgres_home, identity=identity) as server:
            assert value(server.dsn(), "select n from kept") == 7


def test_programs_that_nobody_cannot_reach_are_copied_into_the_home(postgres_home: Path) -> None:
    postgres_home.chmod(0o711)
    closed = postgres_home / "closed"
    closed.mkdir(mode=0o700)
    installed = find_binaries().folder
    shutil.copytree(installed.parent, closed / "package" / "pginstall", symlinks=True)
    libraries = installed.parents[1].with_name(f"{installed.parents[1].name}.libs")
    if libraries.exists():
        shutil.copytree(libraries, closed / libraries.name, symlinks=True)
        (closed / "package").rename(closed / installed.parents[1].name)
    given = next(closed.glob("*/pginstall/bin"))
    inner = postgres_home / "home"
    for _ in range(2):
        with EmbeddedPostgres(inner, binaries=given, identity=Identity.NOBODY) as server:
            program = Path(f"/proc/{server.pid}/exe").readlink()
            assert program.is_relative_to(inner / "postgres")
            assert value(server.dsn(), "select 1") == 1


def test_a_home_that_nobody_cannot_enter_is_refused_by_name(postgres_home: Path) -> None:
    inner = postgres_home / "home"
    server = EmbeddedPostgres(inner, identity=Identity.NOBODY)
    with pytest.raises(SetupError, match=rf"cannot enter {postgres_home}.*--home"):
        server.start()


def test_everything_may_lie_below_a_folder_that_only_root_enters(postgres_home: Path) -> None:
    with EmbeddedPostgres(postgres_home / "home", identity=Identity.USER_NAMESPACE) as server:
        assert value(server.dsn(), "select 1") == 1


def test_an_ordinary_user_runs_it_directly(postgres_home: Path) -> None:
    # To itself and to PostgreSQL the process in the namespace is a user without any right.
    nobody = pwd.getpwnam("nobody")
    user = Launcher(Identity.USER_NAMESPACE, nobody.pw_uid, nobody.pw_gid)
    script = [sys.executable, "-c", AS_ORDINARY_USER, postgres_home, *sys.path]
    code, output = user.run(script, timeout_s=120)
    assert (code, output.strip()) == (0, "rows: 7, again: 7"), output


AS_ORDINARY_USER = """
import os, sys
from pathlib import Path
sys.path[:] = sys.argv[2:]
assert os.geteuid() != 0
from headrace_runtime.postgres.embedded import EmbeddedPostgres
from tests.support.postgres_sessions import execute, value

home = Path(sys.argv[1])
with EmbeddedPostgres(home) as server:
    execute(server.dsn(), "create table kept (n int); insert into kept values (7)")
    first = value(server.dsn(), "select n from kept")
with EmbeddedPostgres(home) as server:
    print(f"rows: {first}, again: {value(server.dsn(), 'select n from kept')}")
"""
