"""`headrace up`: the five services and their database on one machine, under one supervisor."""

import asyncio
import json
import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from headrace_cli.home import Home, open_home
from headrace_cli.ports import GATEWAY, HOST, choose_ports
from headrace_cli.processes import ServiceProcess
from headrace_core.errors import SetupError
from headrace_runtime.keys import load_root_key
from headrace_runtime.postgres.embedded import EmbeddedPostgres
from headrace_runtime.postgres.roles import Access, provision_embedded, provision_external

READY_TIMEOUT_S = 60.0
STOP_S = 4.0
POLL_S = 0.05
MODEL_SETTINGS = "HEADRACE_AI_"
"""The key of a model is the executor's alone."""
EXTERNAL_DSN = "HEADRACE_POSTGRES_DSN"


@dataclass(frozen=True, slots=True)
class UpOptions:
    home: Path
    automatic_ports: bool = False
    api_port: int | None = None
    log_level: str = "info"


class Suite:
    """Everything `up` runs. `say` receives one line of progress at a time."""

    def __init__(self, options: UpOptions, say: Callable[[str], None]) -> None:
        self._options = options
        self._say = say
        self._stopping = False
        self._announced = False
        self.home: Home = open_home(options.home)
        self._postgres: EmbeddedPostgres | None = None
        self._services: Sequence[ServiceProcess] = ()

    def start(self) -> None:
        """Everything serving, or SetupError with nothing left running."""
        try:
            self._start()
        except BaseException:
            self.stop()
            raise

    def run_until_stopped(self) -> None:
        """Watch the children until SIGINT or SIGTERM."""
        while not self._stopping:
            self.watch()
            time.sleep(POLL_S)

    def watch(self) -> None:
        changed = False
        postgres = self._postgres
        if postgres is not None and postgres.poll() is not None:
            self._say("PostgreSQL died and is started again")
            postgres.start()
            changed = True
        for service in self._services:
            if service.watch():
                self._say(f"{service.name} died and was started again")
                changed = True
        if changed:
            self._write_processes()

    def stop(self) -> None:
        """The gateway first, so that nothing new comes in; the database last."""
        deadline_s = time.monotonic() + STOP_S
        for service in reversed(self._services):
            service.ask_to_stop()
        for service in reversed(self._services):
            service.wait_or_kill(deadline_s)
        if self._postgres is not None:
            self._postgres.stop()
        self._services = ()
        self._postgres = None
        if self._announced:
            # Else it is that of another suite, because of which this one did not start.
            self.home.processes_file.unlink(missing_ok=True)

    def ask_to_stop(self, signum: int, frame: FrameType | None) -> None:
        """As a signal handler."""
        self._stopping = True

    def summary(self) -> Mapping[str, Any]:
        """What `--json` prints: addresses, the administrator's key, pids."""
        gateway = next(service for service in self._services if service.name == GATEWAY)
        scheduler = next(service for service in self._services if service.name == "scheduler")
        said = gateway.ready() or {}
        return {
            "api": f"http://{said.get('address', '')}",
            "worker_address": (scheduler.ready() or {}).get("address", ""),
            "admin_key": self.home.admin_key_file.read_text(encoding="ascii").strip(),
            "home": str(self.home.path),
            "pids": self._pids(),
        }

    def _start(self) -> None:
        home = self.home
        load_root_key(home.root_key_file, create=True)
        access = self._open_database()
        if access.shared_role_reason:
            self._say(f"All services share one database role: {access.shared_role_reason}")
        ports = choose_ports(
            home.ports_file,
            automatic=self._options.automatic_ports,
            api_port=self._options.api_port,
        )
        self._services = self._build(access, ports)
        for service in self._services:
            service.start()
        self._write_processes()
        self._await_ready()

    def _open_database(self) -> Access:
        external = os.environ.get(EXTERNAL_DSN)
        roles = self.home.path / "roles"
        if external:
            self._say("Using the PostgreSQL that HEADRACE_POSTGRES_DSN names")
            return asyncio.run(provision_external(external, roles))
        self._say("Starting PostgreSQL")
        self._postgres = EmbeddedPostgres(self.home.path)
        self._postgres.start()
        return asyncio.run(provision_embedded(self._postgres.dsn(), roles))

    def _build(self, access: Access, ports: Mapping[str, int]) -> Sequence[ServiceProcess]:
        addresses = {name: f"{HOST}:{port}" for name, port in ports.items()}
        extra: Mapping[str, Mapping[str, str]] = {
            "scheduler": {},
            "connectors": {},
            "executor": {
                "HEADRACE_SCHEDULERS": addresses["scheduler"],
                "HEADRACE_CONNECTORS": addresses["connectors"],
            },
            "history": {"HEADRACE_SCHEDULERS": addresses["scheduler"]},
            GATEWAY: {
                "HEADRACE_HISTORY": addresses["history"],
                "HEADRACE_CONNECTORS": addresses["connectors"],
                "HEADRACE_ADMIN_KEY_FILE": str(self.home.admin_key_file),
            },
        }
        return [
            ServiceProcess(
                name=name,
                module=f"headrace_{name.replace('-', '_')}",
                environment={
                    "HEADRACE_HOME": str(self.home.path),
                    "HEADRACE_POSTGRES_DSN": access.dsns[name],
                    "HEADRACE_ROOT_KEY_FILE": str(self.home.root_key_file),
                    "HEADRACE_LISTEN": addresses[name],
                    "HEADRACE_READY_FILE": str(self.home.ready_file(name)),
                    "HEADRACE_LOG_LEVEL": self._options.log_level,
                    **settings,
                },
                log_file=self.home.log_file(name),
                ready_file=self.home.ready_file(name),
                withheld="" if name == "executor" else MODEL_SETTINGS,
            )
            for name, settings in extra.items()
        ]

    def _await_ready(self) -> None:
        deadline_s = time.monotonic() + READY_TIMEOUT_S
        waiting = list(self._services)
        while waiting and not self._stopping:
            for service in tuple(waiting):
                if service.ready() is not None:
                    self._say(f"{service.name} is ready")
                    waiting.remove(service)
                else:
                    service.watch()
            if waiting and time.monotonic() > deadline_s:
                late = waiting[0]
                raise SetupError(
                    f"Service {late.name} is not ready after {READY_TIMEOUT_S:.0f} s. "
                    f"Its log {late.log_file} ends with:\n{late.log_tail()}"
                )
            time.sleep(POLL_S)
        self._write_processes()

    def _pids(self) -> dict[str, int | None]:
        pids = {service.name: service.pid for service in self._services}
        if self._postgres is not None:
            pids["postgres"] = self._postgres.pid
        return {"supervisor": os.getpid(), **pids}

    def _write_processes(self) -> None:
        """Replaced atomically, so that whoever reads it sees one whole state."""
        services = {
            service.name: {
                "pid": service.pid,
                "address": service.environment["HEADRACE_LISTEN"],
                "restarts": service.restarts,
            }
            for service in self._services
        }
        document = {"supervisor": os.getpid(), "services": services, "pids": self._pids()}
        draft = self.home.processes_file.with_suffix(".draft")
        draft.write_text(json.dumps(document, indent=1), encoding="utf-8")
        draft.replace(self.home.processes_file)
        self._announced = True


def stop_on_signals(suite: Suite) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, suite.ask_to_stop)
