"""Random secrets in files that only their owner may read."""

import os
import secrets
from contextlib import suppress
from pathlib import Path

from headrace_core.errors import SetupError


def read_or_create_secret(path: Path) -> str:
    """The secret in `path`, drawn at the first call. URL-safe, so it may stand in a DSN.

    Raises SetupError if others may read the file.
    """
    secret = read_secret(path)
    if secret is not None:
        return secret
    # Written aside and linked: a crash leaves no empty file, and two processes agree on one secret.
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_urlsafe(32))
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):
            os.link(draft, path)
    finally:
        draft.unlink()
    secret = read_secret(path)
    assert secret is not None, "the file was there a moment ago"
    return secret


def read_secret(path: Path) -> str | None:
    try:
        mode = path.stat().st_mode
        if mode & 0o077:
            raise SetupError(
                f"{path} holds a password and others may read it (mode {mode & 0o777:04o}). "
                f"Run: chmod 600 {path}"
            )
        secret = path.read_text().strip()
    except FileNotFoundError:
        return None
    if not secret:
        raise SetupError(f"{path} should hold a password and is empty. Restore it from a backup.")
    return secret
