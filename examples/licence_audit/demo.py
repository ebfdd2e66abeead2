"""`make demo`: the licence audit of this environment, through the whole platform, on one machine.

Real packages, real services, a real (small) model; in the middle one service is killed. Exit code 0
means that all of it was checked: everything is stored once, the report arrived once.
"""

import asyncio
import os
import shutil
import signal
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import FrameType
from typing import Any

from rich.console import Console

from examples.licence_audit import local_model, storage
from examples.licence_audit.audit import OWNER, TENANT, Audit, superuser_dsn
from examples.licence_audit.display import Display
from examples.licence_audit.installed import list_packages
from examples.licence_audit.receiver import Receiver
from examples.licence_audit.stage import ROOT, DemoFailed, Platform, Program
from headrace_cli.console import style_of
from headrace_core.errors import HeadraceError

HOME = ROOT / "build" / "demo"
AI_URL, AI_KEY, AI_MODEL = "HEADRACE_AI_BASE_URL", "HEADRACE_AI_API_KEY", "HEADRACE_AI_MODEL"
SCHEDULED = 2
MODEL_STOP_S = 5.0


class Demonstration:
    def __init__(self, display: Display, home: Path) -> None:
        self._display = display
        self._home = home
        self._receiver = Receiver()
        self._killed_at = 0
        self._killed_pid = 0

    def run(self) -> None:
        begun_s = time.monotonic()
        with ExitStack() as running:
            audit = self._start(running)
            run = self._audit(audit)
            self._show(audit, run)
            self._check(audit, audit.run(run))
            running.pop_all().close()
        self._display.say(f"\nEverything is stopped. {time.monotonic() - begun_s:.0f} s in all.")

    def _start(self, running: ExitStack) -> Audit:
        say = self._display.say
        self._display.title("Starting")
        shutil.rmtree(self._home, ignore_errors=True)
        (self._home / "logs").mkdir(parents=True)
        self._receiver.start()
        running.callback(self._receiver.stop)
        platform = Platform(self._home, self._model(running))
        running.callback(platform.stop)
        say("PostgreSQL and five services are started")
        platform.start()
        pids = platform.said["pids"]
        names = ", ".join(name for name in pids if name not in ("supervisor", "postgres"))
        say(f"Services  {names}")
        say(f"API       {platform.said['api']}   (documentation: {platform.said['api']}/docs)")
        audit = Audit.prepare(platform, self._receiver.port)
        say(f"Tenant    {TENANT}, which may reach its database and the receiver, nothing else here")
        say(f"Flows     {', '.join(audit.publish())}")
        worker = Program(
            ["-m", "examples.licence_audit.worker"],
            {
                "HEADRACE_API_KEY": audit.key,
                "HEADRACE_WORKER_ADDRESS": platform.said["worker_address"],
            },
            self._home / "logs" / "worker.log",
        )
        running.callback(worker.stop)
        worker.start()
        say("Worker    a process of the customer's own, which lists and reads the packages")
        return audit

    def _model(self, running: ExitStack) -> Mapping[str, str]:
        """The endpoint that was given, else the model on this machine, else none."""
        if os.environ.get(AI_URL) and os.environ.get(AI_KEY):
            self._display.say(f"Model     {os.environ.get(AI_MODEL, '')} at {os.environ[AI_URL]}")
            return {}
        started = local_model.start(self._home / "logs" / "model.log")
        if started is None:
            self._display.say("Model     none for this machine: the flow's fallback answers")
            return {}
        process, url = started

        def stop() -> None:
            process.terminate()
            process.wait(MODEL_STOP_S)
            if process.stdout is not None:
                process.stdout.close()

        running.callback(stop)
        self._display.say(f"Model     {local_model.NAME}, on this machine (small: do not trust it)")
        return {AI_URL: url, AI_KEY: "none", AI_MODEL: local_model.NAME}

    def _audit(self, audit: Audit) -> str:
        count = len(list_packages())
        self._display.title(f"The licences of {count} packages that make has installed")
        run = audit.start(self._receiver.url)

        def take(event: Mapping[str, Any]) -> None:
            self._display.take(event)
            self._kill_in_the_middle(audit.platform, event)
            if event["kind"] == "ApprovalRequested":
                audit.approve(run)
                self._display.note(f"{OWNER} approves through the API")

        with self._display.live(run):
            audit.follow(run, take)
        return run

    def _kill_in_the_middle(self, platform: Platform, event: Mapping[str, Any]) -> None:
        """While the model is asked for the second time; says when the next process is there."""
        if self._killed_pid:
            pid = platform.pid("executor")
            if pid not in (0, self._killed_pid):
                self._display.note(f"executor was started again, pid {pid}")
                self._killed_pid = 0
        elif event["kind"] == "StepAssigned" and event["step"] == "ask[1]" and not self._killed_at:
            self._killed_at = event["sequence"]
            self._killed_pid = platform.kill("executor")
            self._display.note(f"kill -9 {self._killed_pid}: the executor is gone, in mid-call")

    def _show(self, audit: Audit, run: str) -> None:
        display = self._display
        environment = {
            **os.environ,
            "HEADRACE_URL": audit.platform.said["api"],
            "HEADRACE_API_KEY": audit.key,
        }
        document = audit.run(run)
        display.title("The timeline of the run")
        display.command("show", run, environment=environment)
        if document["status"] != "succeeded":
            raise DemoFailed(f"the run ended {document['status']}; logs are in {self._home}/logs")
        display.title(f"Its state after event {self._killed_at}, when the executor was killed")
        display.command("state", run, "--at", str(self._killed_at), environment=environment)
        self._show_answers(document)
        display.title("The schedule, every 5 s")
        for one in audit.await_scheduled(SCHEDULED):
            display.say(f"{one['started_at']}  {one['id']}  {one['status']}")
        display.title("What is stored where")
        stores = asyncio.run(storage.look(superuser_dsn(self._home), self._home, TENANT))
        rows = [[store.what, store.where, store.count, store.size] for store in stores]
        stored = asyncio.run(audit.database.count(run))
        rows.append(["rows of the customer's own", "package_licence, second database", stored, ""])
        display.table(["what", "where", "count", "size"], rows)
        self._show_report(document)

    def _show_answers(self, document: Mapping[str, Any]) -> None:
        self._display.title("What the model answered, beside what the metadata say")
        output = document["output"]
        rows = [
            [asked["name"], asked["declared"] or "nothing", _answer(given)]
            for asked, given in zip(output["asked"], output["answers"], strict=True)
        ]
        self._display.table(["package", "declared", "the model says"], rows)
        for used in document["usage"]:
            self._display.say(
                f"{used['calls']} calls of {used['model']}: {used['input_tokens']} tokens in, "
                f"{used['output_tokens']} out"
            )
        self._display.say("Its word decides nothing: these packages count as unclear.")

    def _show_report(self, document: Mapping[str, Any]) -> None:
        self._display.title("The report, as the receiver got it")
        statuses = " ".join(str(request.status) for request in self._receiver.requests)
        self._display.say(f"{len(self._receiver.requests)} requests, answered {statuses}")
        output = document["output"]
        for verdict, count in sorted(output["verdicts"].items()):
            self._display.say(f"{count:5}  {verdict}")
        self._display.say(str(output["licences"]))

    def _check(self, audit: Audit, document: Mapping[str, Any]) -> None:
        """What the demonstration claims. Raises DemoFailed."""
        run, output = document["id"], document["output"]
        expected = len(list_packages())
        stored = asyncio.run(audit.database.count(run))
        keys = {request.key for request in self._receiver.requests}
        claims = {
            "the executor was killed": self._killed_at > 0,
            "every package was looked at": output["packages"] == expected,
            "every package is stored once": stored == expected,
            "the receiver failed first": self._receiver.requests[0].status == 503,
            "the report arrived once": len(self._receiver.accepted) == 1,
            "under one idempotency key": len(keys) == 1,
        }
        failed = [claim for claim, holds in claims.items() if not holds]
        if failed:
            raise DemoFailed(f"not true: {'; '.join(failed)}. Logs are in {self._home}/logs")
        self._display.title("Checked")
        for claim in claims:
            self._display.say(f"  {claim}")


def _answer(given: Mapping[str, Any]) -> str:
    text = " ".join(str(given["licence"]).split())
    return f"{text} (the flow's fallback)" if given.get("fallback") else text


def main() -> int:
    def interrupted(signum: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, interrupted)
    console = Console(width=None if sys.stdout.isatty() else 120)
    display = Display(console, style_of(sys.stdout, os.environ))
    try:
        Demonstration(display, HOME).run()
    except KeyboardInterrupt:
        print("\nInterrupted; everything is stopped.", file=sys.stderr)
        return 130
    except (DemoFailed, HeadraceError) as fault:
        print(f"\nThe demonstration failed: {fault}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
