"""Generates Python and type stubs from proto/ when the wheel is built, also the editable one.

The path of a .proto is the import path of its module: headrace/event/v1/envelope.proto becomes
headrace.event.v1.envelope_pb2. Nothing generated is kept in git.
"""

import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

PROTOS = Path(__file__).resolve().parent.parent.parent / "proto"
SOURCES = Path(__file__).resolve().parent / "src"
PACKAGE = "headrace"


def run_protoc(target: Path) -> None:
    protos = sorted(PROTOS.glob(f"{PACKAGE}/**/v*/*.proto"))
    if not protos:
        raise FileNotFoundError(f"no .proto under {PROTOS / PACKAGE}; build from a whole checkout")
    scripts = Path(sysconfig.get_path("scripts"))
    command = [
        sys.executable,
        "-m",
        "grpc_tools.protoc",
        f"--proto_path={PROTOS}",
        f"--plugin=protoc-gen-mypy={scripts / 'protoc-gen-mypy'}",
        f"--plugin=protoc-gen-mypy_grpc={scripts / 'protoc-gen-mypy_grpc'}",
        f"--python_out={target}",
        f"--grpc_python_out={target}",
        f"--mypy_out=quiet:{target}",
        f"--mypy_grpc_out=quiet:{target}",
        *map(str, protos),
    ]
    subprocess.run(command, check=True)


def add_package_files(target: Path) -> None:
    package = target / PACKAGE
    for folder in [package, *(path for path in package.rglob("*") if path.is_dir())]:
        (folder / "__init__.py").touch()
    (package / "py.typed").touch()


def replace_changed(generated: Path, target: Path) -> None:
    """Leaves what is unchanged alone: a test run that imports it now must not see it vanish."""
    wanted = {path.relative_to(generated) for path in generated.rglob("*") if path.is_file()}
    for relative in sorted(wanted):
        content, destination = (generated / relative).read_bytes(), target / relative
        if destination.is_file() and destination.read_bytes() == content:
            continue
        destination.parent.mkdir(parents=True, exist_ok=True)
        fresh = destination.with_name(destination.name + ".new")
        fresh.write_bytes(content)
        fresh.replace(destination)
    for path in (target / PACKAGE).rglob("*.py*"):
        if "__pycache__" not in path.parts and path.relative_to(target) not in wanted:
            path.unlink()


def generate() -> None:
    with tempfile.TemporaryDirectory() as folder:
        run_protoc(Path(folder))
        add_package_files(Path(folder))
        replace_changed(Path(folder), SOURCES)


class GenerateProtos(BuildHookInterface[Any]):
    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        generate()


if __name__ == "__main__":
    generate()
