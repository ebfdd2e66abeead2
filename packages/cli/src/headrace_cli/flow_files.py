"""Definitions on disk: which files are meant, what calls what, and compiling them offline."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import typer

from headrace_api_gateway.domain.definitions import flow_references
from headrace_core.ids import PlanHash
from headrace_core.workflow.actions import ActionDescriptor
from headrace_core.workflow.compile import compile_definition
from headrace_core.workflow.fault import Fault
from headrace_core.workflow.loader import TEXT_BYTES_MAX, load
from headrace_core.workflow.plan import Plan
from headrace_core.workflow.resolution import FLOW_PREFIX, Catalogue, FlowDescriptor

SUFFIXES = (".flow.yaml", ".flow.yml")
UNPUBLISHED = 1
"""The version that a flow on disk has for its callers."""


@dataclass(frozen=True, slots=True)
class FlowFile:
    """`shown` is the path as the user wrote it. `name` is empty where it cannot be read."""

    shown: str
    text: bytes
    name: str

    @property
    def lines(self) -> str:
        """For the excerpts that faults show."""
        return self.text.decode("utf-8-sig", "replace")

    @property
    def calls(self) -> frozenset[str]:
        return frozenset(reference.name for reference in flow_references(self.lines))


def read_flow_files(paths: Sequence[Path]) -> list[FlowFile]:
    """Files as they are, and every `*.flow.yaml` below a folder; each once.

    Raises typer.BadParameter for what cannot be read, and for a folder without any.
    """
    found: dict[Path, FlowFile] = {}
    for path in paths:
        for file in _below(path) if path.is_dir() else [path]:
            if file.resolve() not in found:
                found[file.resolve()] = _read(file)
    return list(found.values())


def callees_first(files: Sequence[FlowFile]) -> list[FlowFile]:
    """In an order in which they can be published. Files that call each other in a circle keep
    theirs: publishing the first of them says what is missing."""
    by_name = {file.name: file for file in files}
    ordered: dict[str, FlowFile] = {}

    def add(file: FlowFile, callers: frozenset[str]) -> None:
        for name in sorted(file.calls & by_name.keys() - callers):
            add(by_name[name], callers | {name})
        ordered.setdefault(file.shown, file)

    for file in files:
        add(file, frozenset({file.name}))
    return list(ordered.values())


@dataclass(frozen=True, slots=True)
class Checked:
    file: FlowFile
    plan: Plan | None
    faults: Sequence[Fault]


@dataclass(slots=True)
class OfflineCompiler:
    """Compiles files. A flow that they call is looked for among them, and beside its caller;
    whatever version a caller names, the file stands for it."""

    files: Sequence[FlowFile]
    _checked: dict[str, Checked] = field(default_factory=dict[str, Checked])
    _open: list[str] = field(default_factory=list[str])

    def check(self, file: FlowFile) -> Checked:
        known = self._checked.get(file.shown)
        if known is not None:
            return known
        self._open.append(file.shown)
        result = compile_definition(file.text, _Siblings(self, file))
        self._open.pop()
        plan, faults = (result, ()) if isinstance(result, Plan) else (None, result)
        checked = self._checked[file.shown] = Checked(file, plan, faults)
        return checked

    def plans(self) -> dict[PlanHash, Plan]:
        """Of all files that were checked and have no fault, those that others call among them."""
        valid = [one.plan for one in self._checked.values() if one.plan is not None]
        return {plan.hash: plan for plan in valid}

    def descriptor(self, name: str, caller: FlowFile) -> FlowDescriptor | None:
        """None for a flow that is not there, has faults of its own or calls its caller."""
        file = self._find(name, caller)
        if file is None or file.shown in self._open:
            return None
        plan = self.check(file).plan
        if plan is None:
            return None
        return FlowDescriptor(plan.flow, UNPUBLISHED, plan.hash, plan.inputs, plan.depth)

    def _find(self, name: str, caller: FlowFile) -> FlowFile | None:
        among = next((file for file in self.files if file.name == name), None)
        if among is not None:
            return among
        folder = Path(caller.shown).parent
        beside = next((folder / f"{name}{one}" for one in SUFFIXES if _is(folder, name, one)), None)
        found = _read(beside) if beside is not None else None
        return found if found is not None and found.name == name else None


@dataclass(frozen=True, slots=True)
class _Siblings:
    """The resolver of one file."""

    compiler: OfflineCompiler
    file: FlowFile
    catalogue: Catalogue = field(default_factory=Catalogue)

    def action(self, name: str, version: str) -> ActionDescriptor | None:
        return self.catalogue.action(name, version)

    def flow(self, name: str, version: str) -> FlowDescriptor | None:
        return self.compiler.descriptor(name, self.file)

    def prompt(self, name: str, version: str) -> str | None:
        return self.catalogue.prompt(name, version)

    def known(self) -> Iterable[str]:
        yield from self.catalogue.known()
        yield from (FLOW_PREFIX + file.name for file in self.compiler.files if file.name)


def _below(folder: Path) -> list[Path]:
    found = sorted(path for path in folder.rglob("*") if path.name.endswith(SUFFIXES))
    if not found:
        raise typer.BadParameter(f"{folder} holds no file named *{SUFFIXES[0]}.")
    return found


def _read(path: Path) -> FlowFile:
    try:
        with path.open("rb") as file:
            # One byte above the limit is refused as too large; the rest need not be read.
            text = file.read(TEXT_BYTES_MAX + 1)
    except OSError as fault:
        raise typer.BadParameter(f"{path} cannot be read: {fault.strerror or fault}.") from fault
    data = load(text)[0].data
    document = cast("dict[str, Any]", data) if isinstance(data, dict) else {}
    name = document.get("name")
    return FlowFile(str(path), text, name if isinstance(name, str) else "")


def _is(folder: Path, name: str, suffix: str) -> bool:
    return (folder / f"{name}{suffix}").is_file()
