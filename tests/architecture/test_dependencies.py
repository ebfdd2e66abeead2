"""What a member imports it declares, and what it declares is what the locks hold."""

import re
import sys
from functools import cache
from importlib.metadata import packages_distributions

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.architecture.source import files, members, settings_of, source_modules, text_of

LOCKED = re.compile(r"^(?P<name>[A-Za-z0-9._\-]+)==(?P<version>[^\s;\\]+)", re.MULTILINE)
HASHED = re.compile(r"^\s+--hash=sha256:[0-9a-f]{64}", re.MULTILINE)


def declared(member: str, *, extras: bool = True) -> list[Requirement]:
    project = settings_of(member)["project"]
    texts: list[str] = list(project["dependencies"])
    if extras:
        texts += [
            one for group in project.get("optional-dependencies", {}).values() for one in group
        ]
    return [Requirement(text) for text in texts]


def distribution(member: str) -> str:
    return canonicalize_name(settings_of(member)["project"]["name"])


def members_by_distribution() -> dict[str, str]:
    return {distribution(member): member for member in members()}


def needs(member: str) -> list[Requirement]:
    """What an installed member needs from outside the workspace, also through other members."""
    ours, found, open_ends = members_by_distribution(), list[Requirement](), [(member, set[str]())]
    seen: set[tuple[str, frozenset[str]]] = set()
    while open_ends:
        name, extras = open_ends.pop()
        if (name, frozenset(extras)) in seen:
            continue
        seen.add((name, frozenset(extras)))
        project = settings_of(name)["project"]
        optional = project.get("optional-dependencies", {})
        texts = [*project["dependencies"], *(one for extra in extras for one in optional[extra])]
        for requirement in map(Requirement, texts):
            inside = ours.get(canonicalize_name(requirement.name))
            if inside is None:
                found.append(requirement)
            else:
                open_ends.append((inside, requirement.extras))
    return found


@cache
def locked(path: str) -> dict[str, str]:
    return {canonicalize_name(m["name"]): m["version"] for m in LOCKED.finditer(text_of(path))}


def disagreements(requirements: list[Requirement], lock: dict[str, str]) -> list[str]:
    ours = members_by_distribution()
    return [
        f"{requirement} but {lock.get(canonicalize_name(requirement.name), 'nothing')} is locked"
        for requirement in requirements
        if canonicalize_name(requirement.name) not in ours
        and not requirement.specifier.contains(
            lock.get(canonicalize_name(requirement.name), "0"), prereleases=True
        )
    ]


@pytest.mark.parametrize("member", members())
def test_the_lock_holds_what_a_member_declares(member: str) -> None:
    assert disagreements(declared(member), locked("requirements.lock")) == []


def test_the_lock_holds_the_tools_of_development_and_building() -> None:
    groups = settings_of(".")["dependency-groups"]
    # The demonstration's model has a lock of its own: it may not stand in anybody's way.
    model = [Requirement(text) for text in groups.pop("model")]
    requirements = [Requirement(text) for group in groups.values() for text in group]
    assert disagreements(requirements, locked("requirements.lock")) == []
    assert disagreements(model, locked("examples/licence_audit/model-requirements.lock")) == []


@pytest.mark.parametrize("service", [one for one in members() if one.startswith("services/")])
def test_a_services_own_lock_holds_all_that_the_service_needs(service: str) -> None:
    own = locked(f"{service}/requirements.lock")
    assert disagreements(needs(service), own) == []
    assert own.items() <= locked("requirements.lock").items()
    assert "pytest" not in own


def test_everything_locked_has_a_hash() -> None:
    for path in files():
        if path.endswith("requirements.lock"):
            blocks = re.split(r"\n(?=[A-Za-z0-9])", text_of(path).strip())
            assert [block[:60] for block in blocks if not HASHED.search(block)] == [], path


@pytest.mark.parametrize("member", members())
def test_a_member_imports_only_what_it_declares(member: str) -> None:
    providers = dict(packages_distributions())
    allowed = {distribution(member)} | {canonicalize_name(r.name) for r in declared(member)}
    # Generated modules come with the contracts.
    providers["headrace"] = ["headrace-contracts"]
    undeclared: set[str] = set()
    for module in source_modules():
        if not module.path.startswith(f"{member}/src/"):
            continue
        for line, name in module.imports():
            top = name.partition(".")[0]
            if top in sys.stdlib_module_names:
                continue
            distributions = {canonicalize_name(one) for one in providers.get(top, [top])}
            if not distributions & allowed:
                undeclared.add(f"{module.path}:{line}: {top}")
    assert sorted(undeclared) == []


def test_every_member_is_typed_and_of_one_python() -> None:
    for member in members():
        name = distribution(member).replace("-", "_")
        assert f"{member}/src/{name}/py.typed" in files()
        assert settings_of(member)["project"]["requires-python"] == ">=3.11"


def test_a_requirement_that_the_lock_does_not_meet_is_seen() -> None:
    lock = {"pydantic": "2.14.4"}
    assert disagreements([Requirement("pydantic>=2.14")], lock) == []
    assert len(disagreements([Requirement("pydantic>=3")], lock)) == 1
    assert len(disagreements([Requirement("absent>=1")], lock)) == 1
