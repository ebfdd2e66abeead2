"""Each member, built as a wheel, installs into an empty environment and imports there.

Catches what this environment hides, where everything is installed: an undeclared dependency, and
generated files that a wheel lacks. It asks the package registry, so only CI runs it.
"""

import asyncio
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from headrace.dispatch.v1 import dispatch_service_pb2 as pb
from tests.architecture.source import ROOT, members, settings_of
from tests.architecture.test_dependencies import locked
from tests.support.scheduler_peer import scheduler_peer

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.skipif(os.environ.get("CI") != "true", reason="asks the package registry"),
]

UV = Path(sysconfig.get_path("scripts")) / "uv"

# Without its extra `cel` the core has everything but the definition language.
NEEDS_CEL = "headrace_core.workflow"
SERVER_PARTS = {"asyncpg", "cel-expr-python", "cryptography", "headrace-runtime", "openai"}

IMPORT_ALL = """
import importlib, pkgutil, sys
package, skipped = importlib.import_module(sys.argv[1]), sys.argv[2:]
names = [one.name for one in pkgutil.walk_packages(package.__path__, package.__name__ + ".",
                                                   onerror=lambda name: None)]
wanted = [name for name in names
          if not name.endswith("__main__") and not any(name.startswith(one) for one in skipped)]
for name in wanted:
    importlib.import_module(name)
print(len(wanted))
"""


SERVE_ONE = """
import sys
from headrace_worker import Worker, task

@task
async def double(number: int) -> int:
    return 2 * number

Worker("hr_live_key", sys.argv[1], [double]).run()
"""


def run(*command: str | Path, cwd: Path) -> str:
    environment = {**os.environ, "UV_PYTHON_DOWNLOADS": "never"}
    environment.pop("VIRTUAL_ENV", None)
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=environment,
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


class WheelHouse:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        for member in members():
            build = ("-m", "hatchling", "build", "--target", "wheel", "--directory", folder)
            run(sys.executable, *build, cwd=ROOT / member)
        lines = [f"{name}=={version}" for name, version in locked("requirements.lock").items()]
        self._constraints = folder / "constraints.txt"
        self._constraints.write_text("\n".join(lines))

    def install(self, requirement: str, venv: Path) -> Path:
        """The Python of a new environment that holds the requirement and what that declares."""
        run(UV, "venv", "--quiet", "--python", sys.executable, venv, cwd=venv.parent)
        python = venv / "bin" / "python"
        install = (UV, "pip", "install", "--quiet", "--python", python, requirement)
        found = ("--find-links", self._folder, "--constraint", self._constraints)
        run(*install, *found, cwd=venv.parent)
        return python


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> WheelHouse:
    return WheelHouse(tmp_path_factory.mktemp("wheels"))


def import_all(python: Path, package: str, *skipped: str, cwd: Path) -> int:
    return int(run(python, "-I", "-c", IMPORT_ALL, package, *skipped, cwd=cwd))


@pytest.mark.parametrize("member", members())
def test_a_member_installs_and_imports_alone(
    member: str, wheels: WheelHouse, tmp_path: Path
) -> None:
    project = settings_of(member)["project"]
    extras = ",".join(project.get("optional-dependencies", {}))
    requirement = f"{project['name']}[{extras}]" if extras else project["name"]
    python = wheels.install(requirement, tmp_path / "venv")
    package = project["name"].replace("-", "_")
    import_all(python, package, cwd=tmp_path)


def test_the_core_folds_events_without_the_definition_language(
    wheels: WheelHouse, tmp_path: Path
) -> None:
    python = wheels.install("headrace-core", tmp_path / "venv")
    assert import_all(python, "headrace_core", NEEDS_CEL, cwd=tmp_path) > 10


def test_the_generated_modules_are_in_the_wheel_of_the_contracts(
    wheels: WheelHouse, tmp_path: Path
) -> None:
    python = wheels.install("headrace-contracts", tmp_path / "venv")
    assert import_all(python, "headrace", cwd=tmp_path) > 5


async def test_a_workers_kit_brings_nothing_of_the_server_and_serves_a_task(
    wheels: WheelHouse, tmp_path: Path
) -> None:
    python = wheels.install("headrace-worker", tmp_path / "venv")
    listed = run(UV, "pip", "list", "--format", "freeze", "--python", python, cwd=tmp_path)
    installed = {line.partition("==")[0] for line in listed.splitlines()}
    assert {one for one in installed if one.startswith("headrace")} == {
        "headrace-contracts",
        "headrace-core",
        "headrace-worker",
    }
    assert installed & SERVER_PARTS == set()
    async with scheduler_peer() as peer:
        process = await asyncio.create_subprocess_exec(
            python, "-I", "-c", SERVE_ONE, peer.address, cwd=tmp_path
        )
        await peer.until(lambda: peer.streams)
        task = pb.Task(
            attempt=pb.Attempt(partition=1, epoch=1, run="r", step="s", attempt=1),
            executor=peer.stream.hello.executor,
            lane="worker::double@1",
            arguments=b'{"number": 21}',
        )
        peer.send(pb.WorkResponse(tasks=[task]))
        await peer.until(peer.stream.results)
        assert peer.stream.results()[0].output == b"42"
        process.terminate()
        assert await process.wait() == 0
