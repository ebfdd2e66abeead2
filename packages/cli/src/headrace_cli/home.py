"""The Headrace home: what one installation on one machine keeps, and where."""

import os
from dataclasses import dataclass
from pathlib import Path

from headrace_core.errors import SetupError

DEFAULT_HOME = Path("~/.headrace")


@dataclass(frozen=True, slots=True)
class Home:
    path: Path

    @property
    def root_key_file(self) -> Path:
        return self.path / "root.key"

    @property
    def admin_key_file(self) -> Path:
        return self.path / "admin.key"

    @property
    def processes_file(self) -> Path:
        return self.path / "processes.json"

    @property
    def ports_file(self) -> Path:
        return self.path / "ports.json"

    def log_file(self, service: str) -> Path:
        return self.path / "logs" / f"{service}.log"

    def ready_file(self, service: str) -> Path:
        return self.path / "run" / f"{service}.json"


def open_home(path: Path) -> Home:
    """Create it for its owner alone. Raises SetupError when it cannot be used."""
    path = path.expanduser().absolute()
    try:
        for folder in (path, path / "logs", path / "run", path / "roles"):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as fault:
        raise SetupError(
            f"The Headrace home {path} cannot be made: {fault.strerror or fault}. "
            "Choose another folder with --home DIR."
        ) from fault
    if not os.access(path, os.W_OK):
        raise SetupError(f"The Headrace home {path} is not writable. Use --home DIR.")
    return Home(path)
