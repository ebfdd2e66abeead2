"""Becomes a PostgreSQL program: gives up root, ties itself to its parent, and execs.

Run as a script (`python -I -S launch.py IDENTITY UID GID PARENT PROGRAM ...`), because a
`preexec_fn` would run Python between fork and exec of a process that may have threads.
"""

import ctypes
import os
import signal
import sys
from pathlib import Path

CLONE_NEWUSER = 0x10000000
PR_SET_PDEATHSIG = 1
EXIT_REFUSED = 125


def enter_user_namespace(uid: int, gid: int) -> None:
    """From here on our own account is called `uid`: nothing on disk has to change hands."""
    outer_uid, outer_gid = os.getuid(), os.getgid()
    _libc_call("unshare", CLONE_NEWUSER)
    # The kernel wants this before an unprivileged process may write its gid_map.
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{uid} {outer_uid} 1")
    Path("/proc/self/gid_map").write_text(f"{gid} {outer_gid} 1")


def become(uid: int, gid: int) -> None:
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)


def die_with(parent: int) -> None:
    """A clean shutdown when the supervisor dies. A change of user clears it: call this last."""
    if sys.platform == "linux":
        _libc_call("prctl", PR_SET_PDEATHSIG, int(signal.SIGINT))
    if os.getppid() != parent:
        sys.exit(EXIT_REFUSED)


def _libc_call(name: str, *arguments: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc[name](*arguments) != 0:
        fault = ctypes.get_errno()
        raise OSError(fault, f"{name}: {os.strerror(fault)}")


def main(arguments: list[str]) -> None:
    identity, uid, gid, parent, *program = arguments
    os.umask(0o077)
    try:
        if identity == "user-namespace":
            enter_user_namespace(int(uid), int(gid))
        elif identity == "nobody":
            become(int(uid), int(gid))
        die_with(int(parent))
        os.execv(program[0], program)  # noqa: S606 - to become that program is the whole point
    except OSError as fault:
        sys.stderr.write(f"cannot start {program[0]} as {identity}: {fault}\n")
        sys.exit(EXIT_REFUSED)


if __name__ == "__main__":
    main(sys.argv[1:])
