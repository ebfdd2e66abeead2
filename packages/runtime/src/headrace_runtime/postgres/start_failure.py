"""Turns what went wrong while PostgreSQL was set up or started into what, where and what to do."""

import errno
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from headrace_core.errors import SetupError

LOG_LINES_SHOWN = 12


class PortTaken(SetupError):
    """The port is another program's. An automatic port may simply be drawn again."""


def port_taken(host: str, port: int) -> PortTaken:
    return PortTaken(
        f"Port {port} on {host} is taken by another program, and the database needs it. "
        "Stop that program, or choose another port (0 picks a free one)."
    )


def start_failure(output: str, data: Path, host: str, port: int) -> SetupError:
    """The clearest error for the server's (or initdb's) own words."""
    if "Address already in use" in output:
        return port_taken(host, port)
    if "postmaster.pid" in output and "already exists" in output:
        return SetupError(
            f"A PostgreSQL that Headrace did not start runs in {data}: stop it, then start again. "
            f"It said:\n{_last_lines(output)}"
        )
    if "No space left on device" in output:
        return disk_full(data)
    if "Permission denied" in output or "has invalid permissions" in output:
        return SetupError(
            f"PostgreSQL may not use {data}. The folder must belong to the account that starts "
            f"Headrace, with mode 0700, below folders it can enter. PostgreSQL said:\n"
            f"{_last_lines(output)}"
        )
    if "shared memory" in output:
        return SetupError(
            "PostgreSQL gets no shared memory from this machine. Free some memory, or give the "
            f"container a larger /dev/shm. PostgreSQL said:\n{_last_lines(output)}"
        )
    return SetupError(f"PostgreSQL did not start in {data}. It said:\n{_last_lines(output)}")


def disk_full(path: Path) -> SetupError:
    free_mb = shutil.disk_usage(_existing(path)).free // 1_000_000
    return SetupError(
        f"No space left on the disk that holds {path} ({free_mb} MB free). Nothing was lost: "
        "free some space there (a new database takes 40 MB, its log up to 1 GB), then start again."
    )


@contextmanager
def clear_file_errors(path: Path) -> Generator[None]:
    """Full disks and missing rights below `path` become a SetupError."""
    try:
        yield
    except OSError as fault:
        if fault.errno in (errno.ENOSPC, errno.EDQUOT):
            raise disk_full(path) from fault
        if fault.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR):
            raise SetupError(
                f"Cannot write {fault.filename or path}: {fault.strerror}. Headrace keeps its "
                f"database in {path}: make that folder writable for this account, or choose "
                "another with --home."
            ) from fault
        raise


def _existing(path: Path) -> Path:
    return next(place for place in (path, *path.parents) if place.exists())


def _last_lines(output: str) -> str:
    lines = [line for line in output.splitlines() if line.strip()]
    return "\n".join(f"  {line}" for line in lines[-LOG_LINES_SHOWN:]) or "  (nothing)"
