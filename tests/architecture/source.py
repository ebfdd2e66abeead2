"""The project's own files as the architecture tests see them: what git tracks or would track."""

import ast
import subprocess
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent


@dataclass(frozen=True)
class Module:
    """A Python file; `path` is relative to the project, with forward slashes."""

    path: str
    text: str

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text, self.path)

    @property
    def in_src(self) -> bool:
        return "/src/" in self.path

    @property
    def inside(self) -> str:
        """The path below src, such as headrace_core/run/apply.py."""
        return self.path.partition("/src/")[2]

    def imports(self) -> Iterator[tuple[int, str]]:
        """Line and full dotted name of everything imported, wherever in the file."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                yield from ((node.lineno, alias.name) for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


@cache
def files() -> tuple[str, ...]:
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    # A tracked file that was just deleted is still listed.
    return tuple(sorted(path for path in listed.stdout.split("\n") if (ROOT / path).is_file()))


@cache
def text_of(path: str) -> str:
    """Text of a file; bytes that are no UTF-8 do not matter to any rule."""
    return (ROOT / path).read_text(encoding="utf-8", errors="replace")


@cache
def modules() -> tuple[Module, ...]:
    return tuple(Module(path, text_of(path)) for path in files() if path.endswith(".py"))


def source_modules() -> tuple[Module, ...]:
    return tuple(module for module in modules() if module.in_src)


@cache
def settings_of(folder: str) -> dict[str, Any]:
    return tomllib.loads(text_of(f"{folder}/pyproject.toml".removeprefix("./")))


def members() -> list[str]:
    return settings_of(".")["tool"]["uv"]["workspace"]["members"]


def is_pure(module: Module) -> bool:
    """The core and the decisions of services: no clock, chance, environment or network."""
    return module.inside.startswith("headrace_core/") or layer(module) == "domain/"


def layer(module: Module) -> str:
    """The folder below the package of a service, with a slash: `api/`; empty for a file."""
    if not module.path.startswith("services/"):
        return ""
    below = module.inside.split("/", 1)[-1]
    return below.partition("/")[0] + "/" if "/" in below else ""
