"""What commands make of a far side that is away, breaks off, or is something else."""

import json
import socket
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from urllib.parse import parse_qs, urlsplit

import pytest
from websockets.sync.server import ServerConnection, serve

from headrace_cli import live
from headrace_cli.api_client import ApiClient, Target, UnclearAnswer
from headrace_cli.exit_code import ExitCode
from headrace_cli.live import follow
from headrace_core.errors import NotFound, Unavailable
from tests.unit.cli.command import headrace

EVENTS = [{"sequence": number, "kind": "StepNoted"} for number in range(1, 8)]


@contextmanager
def answering(answer: bytes) -> Generator[str]:
    """A server that reads a request, sends these bytes and hangs up; its address."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve_all() -> None:
            while True:
                try:
                    accepted, _ = listening.accept()
                except OSError:
                    return
                with accepted:
                    accepted.recv(65_536)
                    accepted.sendall(answer)

        thread = threading.Thread(target=serve_all, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        # Closing does not wake a thread that waits for a connection.
        listening.shutdown(socket.SHUT_RDWR)
        thread.join()


@contextmanager
def live_server(handle: Callable[[ServerConnection], None]) -> Generator[Target]:
    with serve(handle, "127.0.0.1", 0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield Target(f"http://127.0.0.1:{server.socket.getsockname()[1]}", "k")
        server.shutdown()
        thread.join()


def page(status: str, kind: str, body: str) -> bytes:
    head = f"HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\n"
    return f"{head}connection: close\r\n\r\n{body}".encode()


@pytest.mark.parametrize(
    "answer",
    [
        page("404 Not Found", "text/html", "<html>nginx</html>"),
        page("200 OK", "text/html", "<html>welcome</html>"),
        page("500 Internal Server Error", "application/json", '{"error": "x"}'),
    ],
)
def test_a_server_that_is_no_headrace_is_called_that(answer: bytes) -> None:
    with answering(answer) as url:
        shown = headrace("workflows", "--url", url, "--key", "k")
    assert shown.exit_code == ExitCode.UNREACHABLE
    assert f"What answers at {url} is no Headrace" in shown.stderr


def test_a_start_whose_answer_is_lost_names_the_key_to_repeat_it_with() -> None:
    with answering(b"") as url:
        words = ("run", "hello", "--url", url, "--key", "k", "--idempotency-key", "mine")
        shown = headrace(*words)
    assert shown.exit_code == ExitCode.UNREACHABLE
    assert "--idempotency-key mine starts it or finds it" in shown.stderr


def test_an_answer_that_breaks_off_is_not_taken_for_whole() -> None:
    cut = page("200 OK", "application/json", '{"workflows": []}')[:-4]
    with answering(cut) as url, pytest.raises(UnclearAnswer, match="broke before"):
        ApiClient(Target(url, "k")).get("/v1/workflows")


def test_a_live_stream_that_is_cut_goes_on_without_gap_or_repeat(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(live, "PAUSE_S", 0.0)
    asked: list[int] = []

    def two_events_then_cut(connection: ServerConnection) -> None:
        assert connection.request is not None
        after = int(parse_qs(urlsplit(connection.request.path).query)["after"][0])
        asked.append(after)
        rest = EVENTS[after : after + 2]
        ended = after + 2 >= len(EVENTS)
        connection.send(json.dumps({"events": rest, "ended": ended}))
        if not ended:
            # As when the process is killed: no closing handshake.
            connection.socket.shutdown(socket.SHUT_RDWR)

    with live_server(two_events_then_cut) as target:
        seen = [event["sequence"] for event in follow(target, "run_1")]
    assert seen == [1, 2, 3, 4, 5, 6, 7]
    assert asked == [0, 2, 4, 6]


def test_a_refusal_of_the_live_stream_is_not_tried_again() -> None:
    asked: list[int] = []

    def refuse(connection: ServerConnection) -> None:
        asked.append(1)
        connection.close(4404, "HR-2003: there is no run")

    with live_server(refuse) as target, pytest.raises(NotFound, match="there is no run"):
        list(follow(target, "run_1"))
    assert asked == [1]


def test_a_live_stream_that_stays_away_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "PAUSE_S", 0.0)
    monkeypatch.setattr(live, "GIVE_UP_AFTER_S", 0.0)
    with pytest.raises(Unavailable, match="No Headrace answers"):
        list(follow(Target("http://127.0.0.1:1", "k"), "run_1"))
