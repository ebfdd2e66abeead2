"""The folder `<home>/postgres`: what lies where, creation once, and who is using it.

data-<major>/         the database; never opened by another major version
superuser.password    0600
port                  the port kept over restarts
lock                  held by the one supervisor of this folder
postgres.log          what the server says
binaries-<version>/   a copy, only where the installed ones cannot be reached (nobody_access)
"""

import os
import shutil
import stat
import time
from dataclasses import dataclass
from pathlib import Path

from headrace_core.errors import SetupError
from headrace_runtime.postgres.binaries import Binaries
from headrace_runtime.postgres.configuration import initdb_arguments
from headrace_runtime.postgres.identity import Launcher
from headrace_runtime.postgres.secret_file import read_or_create_secret, read_secret
from headrace_runtime.postgres.start_failure import start_failure

INITDB_TIMEOUT_S = 300
PROCESSES = Path("/proc")


@dataclass(frozen=True, slots=True)
class DataDirectory:
    root: Path
    major: int

    @property
    def data(self) -> Path:
        return self.root / f"data-{self.major}"

    @property
    def password_file(self) -> Path:
        return self.root / "superuser.password"

    @property
    def pid_file(self) -> Path:
        return self.data / "postmaster.pid"

    def refuse_other_majors(self) -> None:
        others = sorted(
            folder.name.removeprefix("data-")
            for folder in self.root.glob("data-*")
            if folder.name.removeprefix("data-").isdigit() and folder != self.data
        )
        version_file = self.data / "PG_VERSION"
        if version_file.exists() and version_file.read_text().strip() != str(self.major):
            others.append(version_file.read_text().strip())
        if others:
            raise SetupError(
                f"{self.root} holds a database of PostgreSQL {', '.join(others)}, but the programs "
                f"found are PostgreSQL {self.major}, which cannot open it. Set "
                f"HEADRACE_POSTGRES_BINARIES to the programs of version {others[0]}; or, to move "
                "on, dump it with those, set the folder aside, and load the dump."
            )

    def create_if_absent(self, binaries: Binaries, launcher: Launcher) -> None:
        """initdb into a folder aside, renamed when complete: a crash leaves no half database."""
        if self.data.exists():
            self._check_existing(launcher)
            return
        read_or_create_secret(self.password_file)
        draft = self.root / f".data-{self.major}.partial"
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(mode=0o700)
        launcher.own(draft)
        readable_copy = self.root / ".initdb.password"
        readable_copy.unlink(missing_ok=True)
        try:
            shutil.copy(self.password_file, readable_copy)
            launcher.own(readable_copy)
            arguments = initdb_arguments(self.major, draft, readable_copy)
            code, output = launcher.run([binaries.initdb, *arguments], INITDB_TIMEOUT_S)
        finally:
            readable_copy.unlink(missing_ok=True)
        if code != 0:
            shutil.rmtree(draft, ignore_errors=True)
            raise start_failure(output, self.data, "", 0)
        draft.rename(self.data)
        _sync(self.root)

    def superuser_password(self) -> str:
        password = read_secret(self.password_file)
        if password is None:
            raise SetupError(
                f"{self.password_file} is missing: it holds the only password of the database in "
                f"{self.data}. Restore it from a backup."
            )
        return password

    def write(self, name: str, text: str, launcher: Launcher) -> None:
        path = self.data / name
        draft = self.data / f"{name}.new"
        draft.write_text(text)
        draft.chmod(0o600)
        launcher.own(draft)
        draft.replace(path)

    def wait_until_unused(self, timeout_s: float) -> None:
        """After a killed postmaster its children end by themselves; a second one must not start
        before. Raises SetupError, naming the processes, if they do not.
        """
        give_up_at = time.monotonic() + timeout_s
        while users := self.users():
            if time.monotonic() > give_up_at:
                raise SetupError(
                    f"PostgreSQL processes {users} still use {self.data}. Another program may have "
                    "started them: stop them, then start again."
                )
            time.sleep(0.02)

    def users(self) -> list[int]:
        """PostgreSQL processes that work in the data directory, whoever started them.

        A pid file alone proves nothing: its number may be another program's by now.
        """
        try:
            wanted = self.data.stat()
        except FileNotFoundError:
            return []
        return [
            int(process.name)
            for process in PROCESSES.glob("[0-9]*")
            if _is_postgres_in(process, wanted)
        ]

    def remove_stale_pid_file(self) -> None:
        """Only after `wait_until_unused`, under the lock. Where processes cannot be listed (no
        /proc), the server's own check decides.
        """
        if PROCESSES.is_dir():
            self.pid_file.unlink(missing_ok=True)

    def recorded_pid(self) -> int | None:
        """Who the pid file names; not necessarily a server, nor alive."""
        first, *_ = self._pid_file_lines() or [""]
        return int(first) if first.isdigit() else None

    def is_ready(self, pid: int) -> bool:
        """Does our own server, not another on the same port, say that it takes connections?"""
        lines = self._pid_file_lines()
        return self.recorded_pid() == pid and len(lines) >= 8 and lines[7] == "ready"

    def _pid_file_lines(self) -> list[str]:
        try:
            return [line.strip() for line in self.pid_file.read_text().splitlines()]
        except (FileNotFoundError, UnicodeDecodeError):
            return []

    def _check_existing(self, launcher: Launcher) -> None:
        launcher.own_tree(self.data)
        found = self.data.stat()
        if found.st_uid != launcher.owner_uid:
            raise SetupError(
                f"{self.data} belongs to the account with number {found.st_uid}; this one is "
                f"{launcher.owner_uid}. Start Headrace as its owner, or choose another --home."
            )
        if stat.S_IMODE(found.st_mode) & 0o027:
            raise SetupError(
                f"Others may enter {self.data} (mode {stat.S_IMODE(found.st_mode):04o}) and "
                f"PostgreSQL refuses that. Run: chmod 700 {self.data}"
            )


def _is_postgres_in(process: Path, directory: os.stat_result) -> bool:
    try:
        if (process / "comm").read_text().strip() != "postgres":
            return False
        working = (process / "cwd").stat()
    except (OSError, UnicodeDecodeError):
        return False
    return (working.st_dev, working.st_ino) == (directory.st_dev, directory.st_ino)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
