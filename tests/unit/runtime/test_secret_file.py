"""Secrets on disk: drawn once, closed to others."""

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from headrace_core.errors import SetupError
from headrace_runtime.postgres.secret_file import read_or_create_secret, read_secret


def test_a_secret_is_drawn_once_and_only_its_owner_may_read_it(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    first = read_or_create_secret(path)
    assert len(first) >= 32
    assert read_or_create_secret(path) == first
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [entry.name for entry in tmp_path.iterdir()] == ["secret"]


def test_all_who_ask_at_once_get_the_same_secret(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as threads:
        answers = set(threads.map(read_or_create_secret, [tmp_path / "secret"] * 32))
    assert len(answers) == 1


def test_two_secrets_differ(tmp_path: Path) -> None:
    assert read_or_create_secret(tmp_path / "a") != read_or_create_secret(tmp_path / "b")


def test_no_file_is_no_secret(tmp_path: Path) -> None:
    assert read_secret(tmp_path / "none") is None


def test_a_secret_that_others_may_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    read_or_create_secret(path)
    path.chmod(0o640)
    with pytest.raises(SetupError, match=r"mode 0640.*chmod 600"):
        read_secret(path)


def test_an_empty_secret_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.touch(mode=0o600)
    with pytest.raises(SetupError, match="is empty"):
        read_or_create_secret(path)
