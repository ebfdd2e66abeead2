"""Where commands connect, and with which key."""

import json
import os
import stat
from pathlib import Path

import pytest

from headrace_cli.connection import Connections, kept_tenants, running_address
from headrace_cli.home import Home
from headrace_core.errors import InvalidInput, Unauthenticated, Unavailable


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


def run_in(home: Home, supervisor: int | None = None) -> None:
    """As `headrace up` leaves it while it runs: this process is its supervisor."""
    pid = os.getpid() if supervisor is None else supervisor
    document = {"supervisor": pid, "services": {"api-gateway": {"address": "127.0.0.1:8080"}}}
    home.processes_file.write_text(json.dumps(document), encoding="utf-8")


def keep_key(file: Path, key: str) -> None:
    file.parent.mkdir(exist_ok=True)
    file.write_text(key + "\n", encoding="ascii")
    file.chmod(stat.S_IRUSR | stat.S_IWUSR)


def connections(
    home: Home, url: str | None = None, key: str | None = None, tenant: str | None = None
) -> Connections:
    return Connections(home, url, key, tenant)


def test_the_suite_of_the_home_and_its_only_tenant_are_meant(home: Home) -> None:
    run_in(home)
    keep_key(home.tenant_key_file("acme"), "hr_live_1")
    target = connections(home).as_tenant()
    assert (target.url, target.key) == ("http://127.0.0.1:8080", "hr_live_1")
    assert kept_tenants(home) == ["acme"]


def test_an_administrator_uses_the_key_of_the_home(home: Home) -> None:
    run_in(home)
    keep_key(home.admin_key_file, "hr_live_admin")
    assert connections(home).as_administrator().key == "hr_live_admin"


def test_where_nothing_runs_it_says_how_to_start_it(home: Home) -> None:
    with pytest.raises(Unavailable, match=f"headrace up --home {home.path}"):
        connections(home).as_tenant()


def test_a_supervisor_that_is_gone_does_not_run(home: Home) -> None:
    gone = os.posix_spawn("/bin/true", ["true"], {})
    os.waitpid(gone, 0)
    run_in(home, gone)
    assert running_address(home) is None


def test_without_a_tenant_it_says_how_to_add_one(home: Home) -> None:
    run_in(home)
    with pytest.raises(Unauthenticated, match="headrace tenants add NAME"):
        connections(home).as_tenant()


def test_several_tenants_ask_for_a_choice(home: Home) -> None:
    run_in(home)
    for tenant in ("acme", "other"):
        keep_key(home.tenant_key_file(tenant), f"hr_live_{tenant}")
    with pytest.raises(InvalidInput, match=r"\(acme, other\).*--tenant"):
        connections(home).as_tenant()
    assert connections(home, tenant="other").as_tenant().key == "hr_live_other"


def test_a_tenant_without_a_kept_key_is_told_so(home: Home) -> None:
    run_in(home)
    with pytest.raises(Unauthenticated, match="--key or HEADRACE_API_KEY"):
        connections(home, tenant="nobody").as_tenant()


def test_keys_of_the_home_are_never_sent_to_another_address(home: Home) -> None:
    run_in(home)
    keep_key(home.tenant_key_file("acme"), "hr_live_1")
    keep_key(home.admin_key_file, "hr_live_admin")
    for target in ("as_tenant", "as_administrator"):
        with pytest.raises(Unauthenticated, match="A key for http://other:80 is needed"):
            getattr(connections(home, url="http://other:80", tenant="acme"), target)()
    named = connections(home, url="http://other:80/", key="hr_live_own").as_tenant()
    assert (named.url, named.key) == ("http://other:80", "hr_live_own")


def test_a_target_does_not_show_its_key(home: Home) -> None:
    assert "hr_live_own" not in repr(connections(home, "http://x", "hr_live_own").as_tenant())
