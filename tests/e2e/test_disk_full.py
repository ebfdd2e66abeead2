"""A database whose disk is full: starts are refused, nothing is lost, and it goes on by itself.

The disk is a small one of the test's own, in a mount namespace that only the suite sees. A process
that only waits keeps the namespace while the suite is down.
"""

import asyncio
import os
import random
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from tests.chaos.evidence import read_raw_log
from tests.e2e.suite import Suite, begin, ended, publish
from tests.invariants.checks import every_202_started, one_terminal_event
from tests.invariants.facts import gather
from tests.invariants.witnesses import StartAnswered, Witnesses

pytestmark = [pytest.mark.slow, pytest.mark.postgres, pytest.mark.timeout(180)]

DISK_MB = 160
ACCEPTED, UNAVAILABLE = 202, 503
MOUNT_AND_WAIT = 'mount -t tmpfs -o "size=$1m,mode=0700" tmpfs "$2" && echo mounted && exec cat'
PAYLOAD_BYTES = 20_000
REFUSED_ENOUGH = 3
KEEPER = """\
flow: v1
name: keeper
inputs:
  text: {type: string}
steps:
  pause: {wait: {for: 300ms}}
  keep: {needs: [pause], uses: data.echo@1, with: {value: "${{ inputs.text }}"}}
outputs:
  text: "${{ steps.keep.output }}"
"""


@dataclass(slots=True)
class SmallDisk:
    """A suite whose database folder is a disk of DISK_MB. `accepted` are runs answered 202."""

    suite: Suite
    keeper_pid: int
    accepted: list[str] = field(default_factory=list[str])

    @property
    def home(self) -> Path:
        """As the suite sees it."""
        return Path(f"/proc/{self.keeper_pid}/root{self.suite.home}")

    def fill(self) -> None:
        with (self.home / "postgres" / "filler").open("wb", buffering=0) as filler:
            try:
                while True:
                    filler.write(bytes(1 << 16))
            except OSError:
                return

    def make_room(self) -> None:
        (self.home / "postgres" / "filler").unlink()

    def start_until_refused(self, client: httpx.Client) -> list[httpx.Response]:
        """The refusals; what is accepted before and between them is remembered."""
        refusals: list[httpx.Response] = []
        while len(refusals) < REFUSED_ENOUGH:
            body = {"workflow": "keeper", "input": {"text": payload()}}
            answer = client.post("/v1/runs", json=body)
            if answer.status_code == ACCEPTED:
                self.accepted.append(answer.json()["id"])
            else:
                refusals.append(answer)
        return refusals


def payload() -> str:
    """Nothing that compression could make small."""
    return random.randbytes(PAYLOAD_BYTES).hex()


@pytest.fixture
def small_disk() -> Generator[SmallDisk]:
    # Outside pytest's folder, which is closed to the account that root may have to use.
    with tempfile.TemporaryDirectory(prefix="headrace-small-disk-") as folder:
        home = Path(folder) / "home"
        disk = home / "postgres"
        disk.mkdir(mode=0o700, parents=True)
        with keeper_of_a_mount(disk) as keeper_pid:
            launcher = ["nsenter", f"--mount=/proc/{keeper_pid}/ns/mnt"]
            suite = Suite(home, launcher=launcher)
            suite.start()
            yield SmallDisk(suite, keeper_pid)
            if suite.process is not None:
                assert suite.stop() == 0


@contextmanager
def keeper_of_a_mount(folder: Path) -> Generator[int]:
    """The pid of a process in a namespace of its own, where `folder` is a small disk."""
    if shutil.which("unshare") is None or shutil.which("nsenter") is None:
        pytest.skip("util-linux is not installed: no mount namespaces")
    command = ["unshare", "--mount", "sh", "-c", MOUNT_AND_WAIT, "sh", str(DISK_MB), str(folder)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe) as keeper:
        assert keeper.stdout is not None and keeper.stderr is not None
        if not keeper.stdout.readline():
            pytest.skip(f"no mount namespace here: {keeper.stderr.read().decode().strip()}")
        # It ends when its stdin is closed, which leaving the block does.
        yield keeper.pid


def test_a_full_disk_refuses_starts_and_loses_nothing(small_disk: SmallDisk) -> None:
    with small_disk.suite.new_tenant("full") as client:
        publish(client, KEEPER)
        small_disk.accepted += [begin(client, "keeper", {"text": payload()}) for _ in range(5)]
        small_disk.fill()
        for refusal in small_disk.start_until_refused(client):
            assert refusal.status_code == UNAVAILABLE
            problem = refusal.json()
            assert problem["code"] == "HR-2007"
            assert "disk is full" in problem["detail"]
        small_disk.make_room()
        for run in small_disk.accepted:
            assert ended(client, run)["status"] == "succeeded"
        last = begin(client, "keeper", {"text": "room"})
        small_disk.accepted.append(last)
        assert ended(client, last)["output"] == {"text": "room"}
    check_log(small_disk)


def test_a_database_killed_on_a_full_disk_ends_the_suite_which_goes_on_once_there_is_room(
    small_disk: SmallDisk,
) -> None:
    suite = small_disk.suite
    with suite.new_tenant("full") as client:
        publish(client, KEEPER)
        small_disk.accepted += [begin(client, "keeper", {"text": payload()}) for _ in range(5)]
        key = client.headers["Authorization"].removeprefix("Bearer ")
    small_disk.fill()
    os.kill(suite.pid_of("postgres"), signal.SIGKILL)
    assert suite.process is not None and suite.process.stdout is not None
    assert suite.process.wait(60) != 0
    suite.process.stdout.close()
    small_disk.make_room()
    suite.start()
    with suite.client(key) as client:
        for run in small_disk.accepted:
            assert ended(client, run)["status"] == "succeeded"
    check_log(small_disk)


def check_log(disk: SmallDisk) -> None:
    """Every acknowledged run is there whole, and no record is broken or half."""
    raw = asyncio.run(read_raw_log(disk.home))
    facts = gather(raw.partitions, raw.log_id)
    witnesses = Witnesses(starts=[StartAnswered(run, run) for run in disk.accepted])
    violations = [
        *facts.violations,
        *one_terminal_event(facts, witnesses),
        *every_202_started(facts, witnesses),
    ]
    assert list(map(str, violations)) == []
