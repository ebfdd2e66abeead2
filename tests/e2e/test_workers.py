"""Tenants' own processes serve steps of real runs: what they get, what they do not, and faults."""

import json
import os
import queue
import signal
import subprocess
import sys
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest

from headrace.dispatch.v1 import dispatch_service_pb2 as pb
from headrace.dispatch.v1.dispatch_service_pb2_grpc import DispatchServiceStub
from headrace.scheduler.v1 import scheduler_service_pb2 as scheduler_pb
from headrace.scheduler.v1.scheduler_service_pb2_grpc import SchedulerServiceStub
from headrace_core.ids import partition_of, slot_of
from tests.e2e.suite import Suite, begin, ended, publish, until
from tests.support import worker_program

pytestmark = [pytest.mark.slow, pytest.mark.postgres, pytest.mark.timeout(120)]

EXAMPLE = Path(__file__).parents[2] / "examples" / "worker"
PARTITIONS = 8
ECHO = """\
flow: v1
name: echo
inputs:
  value: {}
steps:
  echo: {uses: worker.echo@1, with: {value: "${{ inputs.value }}"}}
outputs: {value: "${{ steps.echo.output }}"}
"""
HANG = """\
flow: v1
name: hang
inputs:
  marker: {type: string}
steps:
  hang: {uses: worker.hang@1, with: {marker: "${{ inputs.marker }}"}MORE}
outputs: {value: "${{ steps.hang.output }}"}
"""


@dataclass(slots=True)
class WorkerProcess:
    """A started worker and what it says it did."""

    process: subprocess.Popen[bytes]
    witness: Path
    log: Path
    lines_before: int = field(default=0)

    def lines(self, what: str) -> list[dict[str, Any]]:
        if not self.witness.exists():
            return []
        lines = map(json.loads, self.witness.read_text(encoding="utf-8").splitlines())
        return [line for line in lines if line["what"] == what]

    def open(self, marker: str) -> None:
        self.witness.with_name(marker).touch()

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


@dataclass(slots=True)
class Site:
    """One tenant of the suite, with a client and keys for its workers."""

    suite: Suite
    name: str
    client: httpx.Client
    folder: Path

    def key(self, role: str = "worker") -> dict[str, Any]:
        with self.suite.admin() as admin:
            body = {"name": role, "role": role}
            made = admin.post(f"/v1/tenants/{self.name}/keys", json=body)
            made.raise_for_status()
            return made.json()

    @contextmanager
    def worker(self, program: Path | None = None, key: str = "") -> Generator[WorkerProcess]:
        witness, log = self.folder / "witness", self.folder / "worker.log"
        environment = {
            **os.environ,
            "HEADRACE_API_KEY": key or self.key()["key"],
            "HEADRACE_WORKER_ADDRESS": self.suite.said["worker_address"],
            "WITNESS_FILE": str(witness),
        }
        command = [sys.executable, program or worker_program.__file__]
        with log.open("ab") as stderr:
            process = subprocess.Popen(command, env=environment, stderr=stderr)
        try:
            yield WorkerProcess(process, witness, log)
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                process.wait(15)


@pytest.fixture
def site(suite: Suite, tmp_path: Path, request: pytest.FixtureRequest) -> Generator[Site]:
    with tenant(suite, tmp_path, f"w-{abs(hash(request.node.name)) % 10**9}") as made:
        yield made


@contextmanager
def tenant(suite: Suite, folder: Path, name: str) -> Generator[Site]:
    with suite.new_tenant(name) as client:
        yield Site(suite, name, client, folder)


def step_of(site: Site, run: str, step: str) -> Mapping[str, Any]:
    answer = site.client.get(f"/v1/runs/{run}")
    answer.raise_for_status()
    return answer.json()["steps"].get(step, {})


def test_the_example_runs_as_it_stands(site: Site) -> None:
    publish(site.client, (EXAMPLE / "flow.yaml").read_text(encoding="utf-8"))
    run = begin(site.client, "thumbnails", {"images": ["a.png", "b.jpg"], "width": 64})
    lane = f"worker:{site.name}:resize@1"
    until(lambda: step_of(site, run, "resize[0]").get("waiting_for") == lane, "it says so")
    with site.worker(EXAMPLE / "worker.py") as worker:
        document = ended(site.client, run)
        worker.process.send_signal(signal.SIGTERM)
        assert worker.process.wait(15) == 0
    files = ["a-64.png", "b-64.jpg"]
    assert document["output"] == {"album": {"album": run, "files": files, "attempt": 1}}


def test_a_worker_of_one_tenant_never_gets_anothers_task(suite: Suite, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    with (
        tenant(suite, tmp_path / "a", "isle-a") as ours,
        tenant(suite, tmp_path / "b", "isle-b") as theirs,
    ):
        for one in (ours, theirs):
            publish(one.client, ECHO)
        with ours.worker() as worker:
            waiting = [begin(theirs.client, "echo", {"value": "secret"}) for _ in range(20)]
            runs = [begin(ours.client, "echo", {"value": number}) for number in range(20)]
            outputs = [ended(ours.client, run)["output"] for run in runs]
            assert outputs == [{"value": number} for number in range(20)]
            assert {line["tenant"] for line in worker.lines("echo")} == {"isle-a"}
            assert len(worker.lines("echo")) == 20
            for run in waiting:
                step = step_of(theirs, run, "echo")
                assert step["waiting_for"] == "worker:isle-b:echo@1"
        with theirs.worker() as worker:
            assert {ended(theirs.client, run)["status"] for run in waiting} == {"succeeded"}
            assert {line["tenant"] for line in worker.lines("echo")} == {"isle-b"}


def refusal(
    suite: Suite, key: str, lanes: list[str], executor: str = "wrk_1"
) -> tuple[grpc.StatusCode, str]:
    """How a stream with this hello ends at once."""
    with grpc.insecure_channel(suite.said["worker_address"]) as channel:
        hello = pb.Hello(executor=executor, api_key=key, lanes=lanes)
        call = DispatchServiceStub(channel).Work(iter([pb.WorkRequest(hello=hello)]))
        with pytest.raises(grpc.RpcError) as refused:
            next(call)
    error: Any = refused.value
    return error.code(), error.details()


def test_a_stream_is_refused_with_a_status_that_says_why(site: Site) -> None:
    suite, key = site.suite, site.key()["key"]
    own = f"worker:{site.name}:echo@1"
    denied, unauthenticated = grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNAUTHENTICATED
    invalid = grpc.StatusCode.INVALID_ARGUMENT
    wrong = key[:-1] + ("0" if key[-1] != "0" else "1")
    assert refusal(suite, "", [own])[0] is unauthenticated
    assert refusal(suite, wrong, [own])[0] is unauthenticated
    assert refusal(suite, "hr_internal_" + "0" * 64, ["shared"])[0] is unauthenticated
    assert refusal(suite, "", ["shared"])[0] is unauthenticated
    assert refusal(suite, key, ["shared"])[0] is denied
    assert refusal(suite, suite.said["admin_key"], ["worker::echo@1"])[0] is denied
    assert refusal(suite, site.key("viewer")["key"], [own])[0] is denied
    code, details = refusal(suite, key, [own, "worker:isle-b:echo@1"])
    assert (code, "is another's" in details) == (denied, True)
    assert refusal(suite, key, ["worker::echo"])[0] is invalid
    assert refusal(suite, key, ["nothing"])[0] is invalid
    assert refusal(suite, key, [])[0] is invalid
    assert refusal(suite, key, [own], executor="")[0] is invalid


def test_a_worker_with_a_wrong_key_ends_and_says_why(site: Site) -> None:
    key = site.key()["key"]
    with site.worker(key=key.replace(key.split("_")[3], "0" * 32)) as worker:
        assert worker.process.wait(30) == 1
        assert "refuses this process" in worker.log.read_text()


def test_a_revoked_key_ends_its_worker_after_a_few_seconds(site: Site) -> None:
    publish(site.client, ECHO)
    key = site.key()
    with site.worker(key=key["key"]) as worker:
        ended(site.client, begin(site.client, "echo", {"value": 1}))
        with site.suite.admin() as admin:
            admin.delete(f"/v1/tenants/{site.name}/keys/{key['id']}").raise_for_status()
        assert worker.process.wait(15) == 1
        assert "was revoked" in worker.log.read_text()


class ForgedStream:
    """A stream of one tenant's that lies about another's attempt."""

    def __init__(self, suite: Suite, key: str, lane: str, *lies: pb.WorkRequest) -> None:
        self._channel = grpc.insecure_channel(suite.said["worker_address"])
        hello = pb.Hello(executor="wrk_liar", api_key=key, lanes=[lane])
        self._call = DispatchServiceStub(self._channel).Work(
            iter([pb.WorkRequest(hello=hello), *lies])
        )

    def heard(self) -> list[pb.WorkResponse]:
        """Everything that was said until the scheduler ended the stream, as it does when the
        liar has said all."""
        with self._channel:
            return list(self._call)


def test_whoever_reaches_the_port_of_workers_gives_the_scheduler_no_commands(suite: Suite) -> None:
    with grpc.insecure_channel(suite.said["worker_address"]) as channel:
        scheduler = SchedulerServiceStub(channel)
        commands = scheduler.Command(iter([scheduler_pb.CommandRequest()]))
        offsets = scheduler.WatchOffsets(scheduler_pb.WatchOffsetsRequest())
        for call in (commands, offsets):
            with pytest.raises(grpc.RpcError) as refused:
                next(call)
            error: Any = refused.value
            assert error.code() is grpc.StatusCode.UNAUTHENTICATED


def test_a_worker_cannot_end_or_lose_another_tenants_attempt(suite: Suite, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    with (
        tenant(suite, tmp_path / "a", "liar") as liar,
        tenant(suite, tmp_path / "b", "victim") as victim,
    ):
        publish(victim.client, HANG.replace("MORE", ""))
        with victim.worker() as worker:
            run = begin(victim.client, "hang", {"marker": "go"})
            until(lambda: worker.lines("begun") != [], "it runs")
            attempt = pb.Attempt(
                partition=partition_of(slot_of(run), PARTITIONS),
                tenant="victim",
                run=run,
                step="hang",
                attempt=1,
            )
            result = pb.Result(attempt=attempt, outcome=pb.OUTCOME_SUCCEEDED, output=b'"forged"')
            lies = pb.WorkRequest(
                refusals=[pb.Refusal(attempt=attempt, reason="draining")],
                results=[result],
                notes=[pb.Note(attempt=attempt, number=1, note=b"1")],
            )
            heard = ForgedStream(suite, liar.key()["key"], "worker::hang@1", lies).heard()
            assert heard[0].welcome.tenant == "liar"
            assert not [one for message in heard for one in message.tasks]
            assert not [one for message in heard for one in message.acknowledgements]
            worker.open("go")
            document = ended(victim.client, run)
            assert document["output"] == {"value": "attempt 1"}
            assert len(document["steps"]["hang"]["attempts"]) == 1


def test_what_a_worker_says_is_checked_and_sealed_before_it_is_believed(site: Site) -> None:
    """A client of its own that speaks the protocol badly."""
    publish(site.client, ECHO)
    run = begin(site.client, "echo", {"value": "x"})
    key, requests = site.key()["key"], queue.SimpleQueue[pb.WorkRequest | None]()
    hello = pb.Hello(executor="raw", api_key=key, lanes=[f"worker:{site.name}:echo@1"])
    credit = pb.Credit(lane=hello.lanes[0], count=1)
    requests.put(pb.WorkRequest(hello=hello, credits=[credit]))
    with grpc.insecure_channel(site.suite.said["worker_address"]) as channel:
        responses = DispatchServiceStub(channel).Work(iter(requests.get, None))
        task = next(one for message in responses for one in message.tasks)
        assert (task.arguments, task.input, list(task.values)) == (b'{"value":"x"}', b"", [])
        assert (task.executor, task.lane) == ("raw", hello.lanes[0])
        said = pb.Result(attempt=task.attempt, outcome=pb.OUTCOME_SUCCEEDED, output=b"{not json")
        requests.put(pb.WorkRequest(results=[said]))
        next(one for message in responses for one in message.acknowledgements)
        requests.put(None)
    document = ended(site.client, run)
    assert (document["status"], document["error"]["type"]) == ("failed", "output.invalid")
    assert "not JSON" in document["error"]["message"]


def test_a_worker_that_is_killed_in_mid_task_is_followed_by_another_attempt(site: Site) -> None:
    publish(site.client, HANG.replace("MORE", ""))
    run = begin(site.client, "hang", {"marker": "go"})
    with site.worker() as first:
        until(lambda: first.lines("begun") != [], "the first attempt runs")
        first.kill()
    with site.worker() as second:
        until(lambda: len(second.lines("begun")) == 2, "the second attempt runs")
        second.open("go")
        document = ended(site.client, run)
        assert document["output"] == {"value": "attempt 2"}
        begun = second.lines("begun")
        assert [line["attempt"] for line in begun] == [1, 2]
        assert begun[0]["key"] == begun[1]["key"] == f"{run}/hang/0/do"
    attempts = document["steps"]["hang"]["attempts"]
    assert [one["error_type"] for one in attempts] == ["executor.lost", None]
    assert all(one["executor"].startswith(f"{site.name}/wrk_") for one in attempts)


def test_a_result_outlives_the_scheduler_that_gave_the_task(site: Site) -> None:
    publish(site.client, HANG.replace("MORE", ""))
    with site.worker() as worker:
        runs = [begin(site.client, "hang", {"marker": "go"}) for _ in range(5)]
        until(lambda: len(worker.lines("begun")) == 5, "all of them run")
        site.suite.kill("scheduler")
        worker.open("go")
        for run in runs:
            document = ended(site.client, run)
            assert document["output"] == {"value": "attempt 1"}
        assert len(worker.lines("begun")) == 5


def test_an_attempts_timeout_cancels_the_function(site: Site) -> None:
    publish(site.client, HANG.replace("MORE", ", timeout: 200ms"))
    with site.worker() as worker:
        document = ended(site.client, begin(site.client, "hang", {"marker": "never"}))
        assert (document["status"], document["error"]["type"]) == ("failed", "timeout.attempt")
        assert document["error"]["message"] == "the attempt did not end within 200 ms"
        assert len(worker.lines("cancelled")) == 1


def test_a_silent_attempt_is_cut_off_and_another_one_follows(site: Site) -> None:
    more = ", heartbeat: 1s, retry: {max_attempts: 3, backoff: {initial: 0s}}"
    publish(site.client, HANG.replace("MORE", more))
    with site.worker() as worker:
        run = begin(site.client, "hang", {"marker": "enough"})
        until(lambda: worker.lines("cancelled") != [], "the first attempt is cut off")
        worker.open("enough")
        document = ended(site.client, run)
        assert document["status"] == "succeeded"
        first = document["steps"]["hang"]["attempts"][0]
        assert (first["outcome"], first["error_type"]) == ("retried", "timeout.heartbeat")


def test_cancelling_a_run_cancels_the_function(site: Site) -> None:
    publish(site.client, HANG.replace("MORE", ""))
    with site.worker() as worker:
        run = begin(site.client, "hang", {"marker": "never"})
        until(lambda: worker.lines("begun") != [], "it runs")
        site.client.post(f"/v1/runs/{run}/cancel", json={}).raise_for_status()
        assert ended(site.client, run, 8)["status"] == "cancelled"
        assert len(worker.lines("cancelled")) == 1


def test_a_large_payload_goes_in_and_out_in_clear_and_rests_sealed(site: Site) -> None:
    publish(site.client, ECHO)
    value = {"licence": "Permission is hereby granted, " * 10_000}
    with site.worker() as worker:
        run = begin(site.client, "echo", {"value": value})
        document = ended(site.client, run)
        assert document["output"] == {"value": value}
        assert worker.lines("echo")[0]["bytes"] > 300_000
    blobs = [path for path in (site.suite.home / "blobs").rglob("*") if path.is_file()]
    assert blobs
    assert not [path for path in blobs if b"Permission is hereby" in path.read_bytes()]


def test_a_fault_of_an_expression_fails_the_step_before_any_worker_sees_it(site: Site) -> None:
    publish(site.client, ECHO.replace("${{ inputs.value }}", "${{ inputs.value[7] }}"))
    with site.worker() as worker:
        document = ended(site.client, begin(site.client, "echo", {"value": [1]}))
        assert (document["status"], document["error"]["type"]) == ("failed", "expr.error")
        assert "value[7]" in document["error"]["message"]
        for number in range(20):
            # The room that the failed attempt had taken is there again.
            value = list(range(number, number + 8))
            run = begin(site.client, "echo", {"value": value})
            assert ended(site.client, run)["output"] == {"value": number + 7}
        assert len(worker.lines("echo")) == 20


@pytest.mark.parametrize(
    ("how", "status", "attempts", "error"),
    [
        ("permanent", "failed", 1, "worker.permanent"),
        ("later", "succeeded", 3, None),
        ("raise", "succeeded", 3, None),
    ],
)
def test_what_a_function_raises_decides_on_a_retry(
    site: Site, how: str, status: str, attempts: int, error: str | None
) -> None:
    retry = "retry: {max_attempts: 5, backoff: {initial: 10ms}}"
    publish(
        site.client,
        "flow: v1\nname: fail\nsteps:\n"
        f"  fail: {{uses: worker.fail@1, with: {{how: {how}}}, {retry}}}\n",
    )
    with site.worker() as worker:
        document = ended(site.client, begin(site.client, "fail"))
        assert document["status"] == status
        assert len(worker.lines("fail")) == attempts
        assert (document["error"] and document["error"]["type"]) == error


def test_a_note_is_an_event_of_the_run(site: Site) -> None:
    publish(site.client, "flow: v1\nname: note\nsteps:\n  count: {uses: worker.count@1}\n")
    with site.worker():
        run = begin(site.client, "note")
        assert ended(site.client, run)["status"] == "succeeded"
        events = site.client.get(f"/v1/runs/{run}/events").json()["events"]
        assert [event["kind"] for event in events].count("StepNoted") == 1


def test_an_idempotency_key_of_the_flows_own_reaches_the_function(site: Site) -> None:
    key = 'idempotency_key: "order-${{ inputs.value }}"'
    publish(site.client, ECHO.replace("uses: worker.echo@1,", f"uses: worker.echo@1, {key},"))
    with site.worker() as worker:
        ended(site.client, begin(site.client, "echo", {"value": 7}))
        assert [line["key"] for line in worker.lines("echo")] == ["order-7"]


def test_a_worker_gets_no_secret(site: Site) -> None:
    text = ECHO.replace("${{ inputs.value }}", "${{ secrets.token }}")
    yaml: Callable[..., httpx.Response] = site.client.post
    answer = yaml("/v1/workflows", content=text, headers={"Content-Type": "application/yaml"})
    assert answer.status_code == 422
    assert "HR-1305" in answer.text
