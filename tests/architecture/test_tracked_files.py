"""What is in git names no machine and no registry, so that it works on every machine the same."""

import re

import pytest

from tests.architecture.source import files, text_of

# Escaped and in groups, so that this file does not hold what it looks for.
REGISTRY = re.compile(
    r"\b(?:pypi\.org|(?:files\.)?pythonhosted\.org|registry\.npmjs\.|registry\.yarnpkg\.|"
    r"crates\.io|proxy\.golang\.|repo1?\.maven\.|deb\.debian\.|archive\.ubuntu\.)"
)
MACHINE = re.compile(r"(?<![\w.\-}])/(?:work|root|farm|Users|home/\w+|tmp/\w+)/")
LOCKS = re.compile(r"(?:^|/)(?:[\w.\-]*requirements[\w.\-]*|[\w.\-]*\.lock|[\w.\-]*-lock\.\w+)$")


def test_no_file_names_the_host_of_a_registry() -> None:
    assert [path for path in files() if REGISTRY.search(text_of(path))] == []


def test_no_file_names_a_path_of_one_machine() -> None:
    assert [path for path in files() if MACHINE.search(text_of(path))] == []


def test_no_lock_file_holds_an_address() -> None:
    locks = [path for path in files() if LOCKS.search(path)]
    assert "requirements.lock" in locks
    assert [path for path in locks if "://" in text_of(path)] == []


def test_what_a_tool_generates_is_not_in_git() -> None:
    generated = re.compile(r"_pb2(?:_grpc)?\.pyi?$|(?:^|/)uv\.lock$|\.egg-info/|__pycache__")
    # Stubs of untyped libraries are written by hand and named like what they describe.
    tracked = [path for path in files() if not path.startswith("typings/")]
    assert [path for path in tracked if generated.search(path)] == []


@pytest.mark.parametrize(
    "host", [f"https://{'pypi'}.org/simple", f"https://registry.{'npmjs'}.org/a"]
)
def test_the_host_of_a_registry_is_seen(host: str) -> None:
    assert REGISTRY.search(f"index = {host!r}")


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        (f"see /{'work'}/main/README.md", True),
        (f"'/{'home'}/anna/x'", True),
        ("docs/network/", False),
        (f"$HOME/{'work'}/", False),
        ("`/root` itself", False),
        ("under /tmp", False),
    ],
)
def test_the_path_of_one_machine_is_seen(text: str, *, seen: bool) -> None:
    assert bool(MACHINE.search(text)) is seen
