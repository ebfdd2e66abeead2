"""A run's events as they happen, over the WebSocket; a broken connection is taken up again."""

import json
import time
from collections.abc import Iterator
from typing import Any

from websockets.exceptions import (
    ConnectionClosed,
    ConnectionClosedOK,
    InvalidHandshake,
    InvalidStatus,
)
from websockets.sync.client import connect

from headrace_cli.api_client import Target, not_headrace, problem_error, unreachable
from headrace_core.errors import HeadraceError, Unavailable

GIVE_UP_AFTER_S = 30.0
PAUSE_S = 0.5
OPEN_TIMEOUT_S = 5.0
CLOSED_BY_SERVICE = frozenset({1001, 1006, 1011, 1012, 1013})
"""Close codes after which connecting again helps; others carry a refusal."""

Event = dict[str, Any]


def follow(target: Target, run: str, after: int = 0) -> Iterator[Event]:
    """Every event with a number above `after`, without gap or repeat, until the run has ended.

    Raises what the API refuses, and Unavailable when it is away for longer than
    GIVE_UP_AFTER_S.
    """
    last = after
    give_up_s = time.monotonic() + GIVE_UP_AFTER_S
    while True:
        try:
            for message in _messages(target, run, last):
                give_up_s = time.monotonic() + GIVE_UP_AFTER_S
                for event in message["events"]:
                    last = event["sequence"]
                    yield event
                if message["ended"]:
                    return
        except Unavailable:
            if time.monotonic() > give_up_s:
                raise
        time.sleep(PAUSE_S)


def _messages(target: Target, run: str, after: int) -> Iterator[Any]:
    """Ends when the connection is closed in good order."""
    address = f"{target.url.replace('http', 'ws', 1)}/v1/runs/{run}/live?after={after}"
    try:
        with connect(
            address,
            additional_headers={"authorization": f"Bearer {target.key}"},
            open_timeout=OPEN_TIMEOUT_S,
            max_size=None,
            proxy=None,
        ) as socket:
            for text in socket:
                yield json.loads(text)
    except ConnectionClosedOK:
        return
    except ConnectionClosed as closed:
        raise _closed(closed, target) from closed
    except InvalidStatus as refused:
        raise _refused(refused, target) from refused
    except (OSError, InvalidHandshake) as fault:
        raise unreachable(target) from fault


def _closed(closed: ConnectionClosed, target: Target) -> HeadraceError:
    code = closed.rcvd.code if closed.rcvd is not None else 1006
    reason = closed.rcvd.reason if closed.rcvd is not None else ""
    if code in CLOSED_BY_SERVICE:
        return Unavailable(reason or f"The connection to {target.url} broke.")
    name, _, detail = reason.partition(": ")
    return problem_error({"code": name, "detail": detail or reason})


def _refused(refused: InvalidStatus, target: Target) -> HeadraceError:
    try:
        return problem_error(json.loads(refused.response.body or b""))
    except ValueError:
        return not_headrace(target)
