"""The root key's file, and what it wraps."""

from pathlib import Path

import pytest

from headrace_core.errors import SetupError
from headrace_core.ids import TenantId
from headrace_runtime.keys import RootKey, load_root_key, month_after, month_of

ACME = TenantId("acme")
KEY = bytes(range(32))


def test_a_root_key_is_drawn_once_and_only_its_owner_may_read_it(tmp_path: Path) -> None:
    path = tmp_path / "home" / "root.key"
    wrapped = load_root_key(path, create=True).wrap(ACME, "2026-11", KEY)
    assert path.stat().st_mode & 0o777 == 0o600
    assert len(path.read_text().strip()) == 64
    assert load_root_key(path, create=True).unwrap(ACME, "2026-11", wrapped) == KEY
    assert [entry.name for entry in path.parent.iterdir()] == ["root.key"]


def test_a_missing_root_key_is_not_made_unasked(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="does not exist"):
        load_root_key(tmp_path / "root.key")


def test_a_root_key_that_others_may_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "root.key"
    load_root_key(path, create=True)
    path.chmod(0o640)
    with pytest.raises(SetupError, match=r"mode 0640.*chmod 600"):
        load_root_key(path)


@pytest.mark.parametrize("text", ["", "zz" * 32, "ab" * 31, "ä" * 64])
def test_a_damaged_root_key_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "root.key"
    path.touch(mode=0o600)
    path.write_text(text)
    with pytest.raises(SetupError, match="root key"):
        load_root_key(path)


@pytest.mark.parametrize(("tenant", "month"), [(TenantId("other"), "2026-11"), (ACME, "2026-12")])
def test_a_data_key_opens_for_its_tenant_and_month_alone(tenant: TenantId, month: str) -> None:
    root = RootKey(KEY)
    wrapped = root.wrap(ACME, "2026-11", bytes(32))
    with pytest.raises(SetupError, match="another installation"):
        root.unwrap(tenant, month, wrapped)


def test_another_root_key_opens_nothing() -> None:
    wrapped = RootKey(KEY).wrap(ACME, "2026-11", bytes(32))
    with pytest.raises(SetupError, match="Restore the root key"):
        RootKey(bytes(32)).unwrap(ACME, "2026-11", wrapped)


def test_months_are_counted_in_utc() -> None:
    assert month_of(1_764_547_199_999) == "2025-11"
    assert month_of(1_764_547_200_000) == "2025-12"
    assert [month_after("2025-11"), month_after("2025-12")] == ["2025-12", "2026-01"]
