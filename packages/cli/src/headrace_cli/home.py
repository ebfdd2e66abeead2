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

    @property
    def tenant_keys(self) -> Path:
        return self.path / "keys"

    @property
    def is_default(self) -> bool:
        return self.path == DEFAULT_HOME.expanduser()

    def tenant_key_file(self, tenant: str) -> Path:
        """A key of that tenant for the commands on this machine."""
        return self.tenant_keys / f"{tenant}.key"

    def log_file(self, service: str) -> Path:
        return self.path / "logs" / f"{service}.log"

    def ready_file(self, service: str) -> Path:
        return self.path / "run" / f"{service}.json"


def home_at(path: Path) -> Home:
    """Without looking whether it is there."""
    return Home(path.expanduser().absolute())


def open_home(path: Path) -> Home:
    """Create it for its owner alone. Raises SetupError when it cannot be used."""
    path = home_at(path).path
    try:
        for folder in (path, path / "logs", path / "run", path / "roles", path / "keys"):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as fault:
        raise SetupError(
            f"The Headrace home {path} cannot be made: {fault.strerror or fault}. "
            "Choose another folder with --home DIR."
        ) from fault
    if not os.access(path, os.W_OK):
        raise SetupError(f"The Headrace home {path} is not writable. Use --home DIR.")
    return Home(path)
