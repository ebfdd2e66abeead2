"""The built-in PostgreSQL server under our own supervisor.

Synchronous, for a supervisor process. A server lives at most as long as the *thread* that started
it (the kernel stops it cleanly when that ends), so `start` belongs in the main thread.
"""

import fcntl
import os
import signal
import subprocess
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from headrace_core.errors import SetupError
from headrace_runtime.postgres.binaries import find_binaries
from headrace_runtime.postgres.configuration import ACCESS, HOST, server_configuration
from headrace_runtime.postgres.data_directory import DataDirectory
from headrace_runtime.postgres.free_port import choose_port, is_free
from headrace_runtime.postgres.identity import Identity, choose_launcher
from headrace_runtime.postgres.nobody_access import open_way_to, reachable_binaries
from headrace_runtime.postgres.readiness import Readiness, probe
from headrace_runtime.postgres.secret_file import read_secret
from headrace_runtime.postgres.start_failure import (
    PortTaken,
    clear_file_errors,
    port_taken,
    start_failure,
)

LOG_BYTES_MAX = 16 * 1024 * 1024
PORTS_TRIED_MAX = 5
POLL_S = 0.01
# Long enough for the replay of 1 GB of WAL on a slow disk.
START_TIMEOUT_S = 300.0
LEFTOVER_TIMEOUT_S = 60.0


class EmbeddedPostgres:
    """One server for one Headrace home, TCP on 127.0.0.1 with SCRAM passwords.

    `port` 0: a free port, drawn once and kept in the home. `settings` overrule those of
    `configuration`. `identity` overrules how root is given up. Errors are SetupError.
    """

    host = HOST

    def __init__(
        self,
        home: Path,
        port: int = 0,
        *,
        binaries: Path | None = None,
        settings: Mapping[str, str] | None = None,
        identity: Identity | None = None,
    ) -> None:
        self.root = home.absolute() / "postgres"
        self._wanted_port = port
        self._wanted_binaries = binaries
        self._wanted_identity = identity
        self._settings = dict(settings or {})
        self._port = 0
        self._directory: DataDirectory | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._lock: int | None = None
        self._log_start = 0

    @property
    def port(self) -> int:
        """Known once `start` has returned; the same after every later start."""
        return self._port

    @property
    def pid(self) -> int | None:
        return None if self._process is None else self._process.pid

    @property
    def log_file(self) -> Path:
        return self.root / "postgres.log"

    def dsn(self, database: str = "postgres") -> str:
        """For the superuser `postgres`; holds its password."""
        if self._directory is None or not self._port:
            raise SetupError(f"The database in {self.root} was not started yet.")
        password = self._directory.superuser_password()
        return _superuser_dsn(password, self._port, database)

    def start(self, timeout_s: float = START_TIMEOUT_S) -> None:
        """Return when the server takes connections. Also the way back after it was killed:
        `if server.poll() is not None: server.start()`.

        Raises SetupError (disk full, port taken, rights, other major version, home in use).
        """
        if self._process is not None and self._process.poll() is None:
            return
        with clear_file_errors(self.root):
            self._take_lock()
            try:
                self._start_locked(timeout_s)
            except BaseException:
                self.stop()
                raise

    def poll(self) -> int | None:
        """Exit code of a server that ended by itself, None while it runs (as Popen.poll)."""
        return None if self._process is None else self._process.poll()

    def stop(self, timeout_s: float = 30.0) -> None:
        """Clean shutdown: sessions are cut off, a checkpoint is written. Idempotent.

        After `timeout_s` it is stopped hard; the next start then recovers from the log.
        """
        process = self._process
        if process is not None:
            self._end(process, timeout_s)
            self._process = None
            if self._directory is not None:
                self._directory.wait_until_unused(timeout_s)
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _start_locked(self, timeout_s: float) -> None:
        binaries = find_binaries(self._wanted_binaries)
        launcher = choose_launcher(binaries, self._wanted_identity)
        if launcher.identity is Identity.NOBODY:
            open_way_to(self.root)
            binaries = reachable_binaries(binaries, launcher, self.root)
        directory = self._directory = DataDirectory(self.root, binaries.major)
        directory.refuse_other_majors()
        directory.create_if_absent(binaries, launcher)
        self._clear_leftovers(directory)
        directory.write("pg_hba.conf", ACCESS, launcher)
        for tries_left in reversed(range(PORTS_TRIED_MAX)):
            port = self._choose_port()
            directory.write("postgresql.conf", server_configuration(port, self._settings), launcher)
            with self._open_log() as log:
                self._process = launcher.start([binaries.postgres, "-D", directory.data], log)
            try:
                self._wait_until_ready(self._process, directory, port, timeout_s)
            except PortTaken:
                if self._wanted_port or self._port or not tries_left:
                    raise
                continue
            self._port = port
            (self.root / "port").write_text(f"{port}\n")
            return

    def _clear_leftovers(self, directory: DataDirectory) -> None:
        """A killed postmaster leaves children and a pid file, a killed supervisor a server that
        is shutting down. The lock says that no supervisor is alive, so what runs may be stopped.
        """
        # Only the postmaster is told: its checkpointer takes the same signal for another order.
        postmaster = directory.recorded_pid()
        if postmaster is not None and postmaster in directory.users():
            with suppress(ProcessLookupError):
                os.kill(postmaster, signal.SIGINT)
        directory.wait_until_unused(LEFTOVER_TIMEOUT_S)
        directory.remove_stale_pid_file()

    def _choose_port(self) -> int:
        """A port drawn by us may change only as long as nobody has been told of it."""
        fixed = self._wanted_port or self._port
        if fixed and not is_free(HOST, fixed):
            raise port_taken(HOST, fixed)
        if fixed:
            return fixed
        kept = self._kept_port()
        return kept if kept and is_free(HOST, kept) else choose_port(HOST)

    def _kept_port(self) -> int:
        try:
            return int((self.root / "port").read_text())
        except (FileNotFoundError, ValueError):
            return 0

    def _wait_until_ready(
        self,
        process: subprocess.Popen[bytes],
        directory: DataDirectory,
        port: int,
        timeout_s: float,
    ) -> None:
        give_up_at = time.monotonic() + timeout_s
        while True:
            if process.poll() is not None:
                raise start_failure(self._said(), directory.data, HOST, port)
            if directory.is_ready(process.pid) and probe(HOST, port) is Readiness.READY:
                return
            if time.monotonic() > give_up_at:
                raise SetupError(
                    f"The database in {directory.data} was not ready within {timeout_s:.0f} s; "
                    f"see {self.log_file}. It may need longer to recover: start again."
                )
            time.sleep(POLL_S)

    def _end(self, process: subprocess.Popen[bytes], timeout_s: float) -> None:
        # SIGINT: cut sessions off, then checkpoint. SIGQUIT: stop at once and recover later.
        for sign, patience_s in ((signal.SIGINT, timeout_s), (signal.SIGQUIT, 10.0)):
            process.send_signal(sign)
            try:
                process.wait(patience_s)
                return
            except subprocess.TimeoutExpired:
                continue
        process.kill()
        process.wait()

    def _take_lock(self) -> None:
        if self._lock is not None:
            return
        self.root.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.root.mkdir(mode=0o700, exist_ok=True)
        lock = os.open(self.root / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(lock, 32, 0).decode(errors="replace").strip() or "unknown"
            os.close(lock)
            raise SetupError(
                f"Another Headrace (process {holder}) already runs the database in {self.root}. "
                "Stop it, or choose another --home."
            ) from None
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
        self._lock = lock

    def _open_log(self) -> IO[bytes]:
        with suppress(FileNotFoundError):
            if self.log_file.stat().st_size > LOG_BYTES_MAX:
                self.log_file.replace(self.log_file.with_name("postgres.log.1"))
        descriptor = os.open(self.log_file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self._log_start = os.fstat(descriptor).st_size
        return os.fdopen(descriptor, "ab")

    def _said(self) -> str:
        """What the server has written since its last start."""
        with self.log_file.open("rb") as log:
            log.seek(self._log_start)
            return log.read().decode(errors="replace")


def running_dsn(home: Path, database: str = "postgres") -> str:
    """For the superuser, of the server that another process runs for this home.

    Raises SetupError where none was ever started.
    """
    root = home.absolute() / "postgres"
    password = read_secret(root / "superuser.password")
    try:
        port = int((root / "port").read_text())
    except (FileNotFoundError, ValueError):
        port = 0
    if password is None or not port:
        raise SetupError(f"The database in {root} was not started yet.")
    return _superuser_dsn(password, port, database)


def _superuser_dsn(password: str, port: int, database: str) -> str:
    return f"postgresql://postgres:{password}@{HOST}:{port}/{database}"
