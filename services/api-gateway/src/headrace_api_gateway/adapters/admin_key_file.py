"""The file that hands the first administrator's key to whoever set the installation up."""

import os
import secrets
from contextlib import suppress
from pathlib import Path

from headrace_core.errors import SetupError


class KeyFile:
    """Mode 0600. It appears whole or not at all."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> str | None:
        """Raises SetupError for a file that cannot be read."""
        try:
            return self._path.read_text(encoding="ascii").strip()
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError) as fault:
            raise SetupError(
                f"HEADRACE_ADMIN_KEY_FILE {self._path} cannot be read: {fault}"
            ) from fault

    def write(self, key: str) -> None:
        """Raises SetupError for a folder that cannot be written."""
        draft = self._path.with_name(f".{self._path.name}.{secrets.token_hex(8)}")
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            try:
                with os.fdopen(descriptor, "w") as file:
                    file.write(key + "\n")
                    file.flush()
                    os.fsync(file.fileno())
                with suppress(FileExistsError):
                    os.link(draft, self._path)
            finally:
                draft.unlink()
        except OSError as fault:
            raise SetupError(
                f"HEADRACE_ADMIN_KEY_FILE {self._path} cannot be written: {fault}"
            ) from fault
