"""Follows a run to its end before the eyes of whoever waits: a table on a terminal, else lines."""

import json
import queue
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any

import typer

from headrace_cli.api_client import ApiClient, Target
from headrace_cli.console import Console, now_ms
from headrace_cli.exit_code import ExitCode
from headrace_cli.live import Event, follow
from headrace_cli.live_table import REDRAW_S, LiveTable
from headrace_cli.rendering.board import Board
from headrace_cli.rendering.progress import Progress
from headrace_cli.rendering.progress_lines import progress_line
from headrace_cli.rendering.run_text import decision_hints
from headrace_cli.session import Session

SUCCEEDED = "succeeded"


def follow_to_end(session: Session, api: ApiClient, run: str) -> None:
    """Progress is for people: with --json only the run as it ended is printed.

    Raises typer.Exit unless the run succeeds.
    """
    console = session.console
    try:
        if console.as_json:
            _in_silence(api.target, run)
        elif console.draws:
            _as_table(api.target, run, console)
        else:
            _as_lines(api.target, run, console)
    except KeyboardInterrupt:
        console.say(f"The run goes on: headrace watch {run}")
        raise
    document = api.get(f"/v1/runs/{run}")
    if console.as_json:
        console.answer_json(document)
    else:
        _answer_end(console, document)
    if document["status"] != SUCCEEDED:
        raise typer.Exit(ExitCode.RUN_NOT_SUCCEEDED)


def _in_silence(target: Target, run: str) -> None:
    progress = Progress(run)
    for event in follow(target, run):
        progress.take(event)
        if progress.outcome:
            return


def _as_lines(target: Target, run: str, console: Console) -> None:
    progress = Progress(run)
    console.say(f"Run {run}")
    for event in follow(target, run):
        for change in progress.take(event):
            if not change.is_minor:
                console.say(progress_line(change, progress.started_ms, console.progress))
        if progress.outcome:
            return


def _as_table(target: Target, run: str, console: Console) -> None:
    progress = Progress(run)
    with LiveTable(Board(run), sys.stderr, console.progress) as table:
        table.draw(now_ms())
        for events in _batches(target, run):
            for event in events:
                table.take(progress.take(event))
                if progress.outcome:
                    break
            table.draw(now_ms())
            if progress.outcome:
                return


def _batches(target: Target, run: str) -> Iterator[list[Event]]:
    """What happened since the last drawing, ten times a second also where nothing did."""
    arrived: queue.SimpleQueue[Event | BaseException | None] = queue.SimpleQueue()

    def receive() -> None:
        try:
            for event in follow(target, run):
                arrived.put(event)
            arrived.put(None)
        except BaseException as fault:  # noqa: BLE001 - it is raised where the events are taken
            arrived.put(fault)

    threading.Thread(target=receive, daemon=True).start()
    while True:
        batch: list[Event] = []
        deadline_s = time.monotonic() + REDRAW_S
        while (left_s := deadline_s - time.monotonic()) > 0:
            try:
                item = arrived.get(timeout=left_s)
            except queue.Empty:
                break
            if item is None:
                yield batch
                return
            if isinstance(item, BaseException):
                raise item
            batch.append(item)
        yield batch


def _answer_end(console: Console, run: Mapping[str, Any]) -> None:
    if run["status"] == SUCCEEDED and run["output"] is not None:
        console.answer(json.dumps(run["output"], indent=2, ensure_ascii=False))
    for hint in decision_hints(run):
        console.say(hint)
    if run["status"] != SUCCEEDED:
        console.say(f"What happened: headrace show {run['id']}")
