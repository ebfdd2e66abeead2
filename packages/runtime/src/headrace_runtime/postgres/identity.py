"""Under which account PostgreSQL runs: it refuses root, and we are often started as root.

An ordinary user runs it directly. Root maps itself to an ordinary account in a user namespace
(works with everything below /root at mode 0700); where that is forbidden, as in containers
without extra rights, it becomes `nobody` for good and the files change hands.
"""

import os
import pwd
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import IO

from headrace_core.errors import SetupError
from headrace_runtime.postgres import launch
from headrace_runtime.postgres.binaries import Binaries

# Nothing of the caller's PG* variables, library paths or language may reach the server.
ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LC_ALL": "C"}


class Identity(Enum):
    SELF = "self"
    USER_NAMESPACE = "user-namespace"
    NOBODY = "nobody"


@dataclass(frozen=True, slots=True)
class Launcher:
    """Starts programs under `identity`; `uid` and `gid` are what they see as their own."""

    identity: Identity
    uid: int
    gid: int

    @property
    def owner_uid(self) -> int:
        """Who must own the data directory, as seen from outside."""
        return self.uid if self.identity is Identity.NOBODY else os.geteuid()

    @property
    def owner_gid(self) -> int:
        return self.gid if self.identity is Identity.NOBODY else os.getegid()

    def start(
        self, program: Sequence[str | Path], output: IO[bytes] | int
    ) -> subprocess.Popen[bytes]:
        """In a session of its own, so that Ctrl-C in a terminal reaches only the supervisor.

        The child gets SIGINT when the calling *thread* ends: call it from the main thread.
        """
        return subprocess.Popen(
            [
                sys.executable, "-I", "-S", launch.__file__,
                self.identity.value, str(self.uid), str(self.gid), str(os.getpid()),
                *map(str, program),
            ],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd="/",
            env=ENVIRONMENT,
            start_new_session=True,
        )  # fmt: skip

    def run(self, program: Sequence[str | Path], timeout_s: float) -> tuple[int, str]:
        """Exit code and output (both streams) of a short program."""
        child = self.start(program, subprocess.PIPE)
        try:
            output, _ = child.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            child.kill()
            output, _ = child.communicate()
            return -1, f"{output.decode(errors='replace')}\nstopped after {timeout_s:.0f} s"
        return child.returncode, output.decode(errors="replace")

    def can_run(self, binaries: Binaries) -> bool:
        return self.run([binaries.postgres, "-V"], timeout_s=30)[0] == 0

    def own(self, path: Path) -> None:
        """Give a file that we wrote to the account that the server runs under."""
        os.chown(path, self.owner_uid, self.owner_gid)

    def own_tree(self, root: Path) -> None:
        """An earlier start may have used the other way of giving up root."""
        if root.stat().st_uid == self.owner_uid:
            return
        for folder, _, files in os.walk(root):
            os.lchown(folder, self.owner_uid, self.owner_gid)
            for name in files:
                os.lchown(Path(folder) / name, self.owner_uid, self.owner_gid)


def choose_launcher(binaries: Binaries, wanted: Identity | None = None) -> Launcher:
    """`wanted` overrules the choice; it is refused where it cannot work."""
    if os.geteuid() != 0:
        if wanted not in (None, Identity.SELF):
            raise SetupError(f"Only root can run PostgreSQL as {wanted.value!r}.")
        return Launcher(Identity.SELF, os.geteuid(), os.getegid())
    if wanted is Identity.SELF:
        raise SetupError("PostgreSQL refuses to run as root: choose another identity.")
    account = _ordinary_account()
    namespaced = Launcher(Identity.USER_NAMESPACE, account.pw_uid, account.pw_gid)
    if wanted is not Identity.NOBODY and namespaced.can_run(binaries):
        return namespaced
    if wanted is Identity.USER_NAMESPACE:
        raise SetupError("This machine does not allow user namespaces: choose another identity.")
    return Launcher(Identity.NOBODY, account.pw_uid, account.pw_gid)


def _ordinary_account() -> pwd.struct_passwd:
    try:
        return pwd.getpwnam("nobody")
    except KeyError:
        # initdb looks its own account up by number, so any account with an entry will do.
        for account in pwd.getpwall():
            if account.pw_uid != 0:
                return account
    raise SetupError(
        "PostgreSQL refuses to run as root and /etc/passwd has no other account. "
        "Add one (for example nobody), or start Headrace as an ordinary user."
    )
