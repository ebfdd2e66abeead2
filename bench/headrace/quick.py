"""The quick benchmark: sequential runs, fan-outs and one run alone, on real processes."""

import argparse
import asyncio
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import psutil
from bench.headrace.compare import compare
from bench.headrace.flows import (
    FAN_OUT_STEPS,
    INPUT,
    SEQUENTIAL_STEPS,
    SINGLE_STEPS,
    fan_out,
    sequential,
)
from bench.headrace.http import HttpClient
from bench.headrace.log_watch import LogWatch
from bench.headrace.suite import RunningSuite, running_suite

from headrace_runtime.eventlog.postgres import PostgresLog

TENANT = "bench"
IN_FLIGHT = 256
WARM_UP_RUNS = 256
POLL_S = 0.01
DRAIN_TIMEOUT_S = 60.0
SINGLE_RUNS = 60


@dataclass(frozen=True, slots=True)
class Load:
    name: str
    flow: str
    steps: int
    runs: int


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="bench-quick", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("build/bench/quick.json"))
    parser.add_argument("--python", default=sys.executable, help="whose headrace is measured")
    parser.add_argument("--scale", type=float, default=1.0, help="of the number of runs")
    parser.add_argument("--base", help="a commit to compare with, in turns")
    options = parser.parse_args(arguments)
    if options.base:
        sys.stdout.write(compare(options.base) + "\n")
        return 0
    load_before = os.getloadavg()[0]
    with running_suite(options.python) as suite:
        figures = asyncio.run(_measure(suite, options.scale))
    report = {
        **figures,
        "machine": f"{platform.machine()}, {psutil.cpu_count()} cores, {platform.release()}",
        "python": platform.python_version(),
        "load": load_before,
        "commit": _commit(),
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    sys.stdout.write(table(report) + "\n")
    return 0


def table(report: dict[str, Any]) -> str:
    lines = [f"{'':14}{'steps/s':>9}{'CPU-ms/step':>13}{'step p50 ms':>13}{'p99 ms':>8}"]
    for name in ("sequential", "fanout"):
        one = report[name]
        latency = one["step_latency_ms"]
        lines.append(
            f"{name:14}{one['steps_per_s']:>9,.0f}{one['cpu_ms_per_step']:>13.3f}"
            f"{latency['p50']:>13.1f}{latency['p99']:>8.1f}"
        )
        parts = ", ".join(f"{part} {ms:.3f}" for part, ms in one["cpu_ms_by_process"].items())
        lines.append(f"{'':14}{parts}")
    single = report["single_run_ms"]
    lines.append(
        f"one run of {SINGLE_STEPS} steps alone: "
        f"p50 {single['p50']:.1f} ms, p99 {single['p99']:.1f} ms"
    )
    lines.append(
        f"fsync {report['fsync']}, load before {report['load']:.2f}, {report['machine']}, "
        f"commit {report['commit']}"
    )
    return "\n".join(lines)


async def _measure(suite: RunningSuite, scale: float) -> dict[str, Any]:
    client = await _prepare(suite)
    dsn = _reader_dsn(suite)
    log = await PostgresLog.open(dsn, application_name="bench", writers=1)
    connection = await asyncpg.connect(dsn)
    try:
        fsync = await connection.fetchval("show fsync")
        loads = (
            Load("sequential", "sequential", SEQUENTIAL_STEPS, int(6_000 * scale)),
            Load("fanout", "fanout", FAN_OUT_STEPS, int(3_000 * scale)),
        )
        report: dict[str, Any] = {"fsync": fsync}
        for load in loads:
            warm = Load(load.name, load.flow, load.steps, WARM_UP_RUNS)
            await _drive(suite, client, log, connection, warm)
            report[load.name] = await _drive(suite, client, log, connection, load)
        report["single_run_ms"] = await _single(client)
        return report
    finally:
        await connection.close()
        await log.close()


async def _prepare(suite: RunningSuite) -> HttpClient:
    admin = HttpClient(suite.api, suite.admin_key)
    await admin.call("POST", "/v1/tenants", {"id": TENANT})
    made = await admin.call(
        "POST", f"/v1/tenants/{TENANT}/keys", {"name": "bench", "role": "editor"}
    )
    client = HttpClient(suite.api, made["key"])
    for text in (
        sequential("sequential", SEQUENTIAL_STEPS),
        fan_out("fanout", FAN_OUT_STEPS),
        sequential("single", SINGLE_STEPS),
    ):
        status, answer = await client.send(
            "POST", "/v1/workflows", text.encode(), "application/yaml"
        )
        if status >= 300:
            raise RuntimeError(f"publishing failed: {status} {answer.decode()[:500]}")
        published = json.loads(answer)
        label = f"/v1/workflows/{published['name']}/labels/stable"
        await client.call("PUT", label, {"version": published["version"]})
    return client


async def _drive(
    suite: RunningSuite,
    client: HttpClient,
    log: PostgresLog,
    connection: "asyncpg.Connection[asyncpg.Record]",
    load: Load,
) -> dict[str, Any]:
    """Keep IN_FLIGHT runs under way until `load.runs` have ended and history has drained."""
    body = json.dumps({"workflow": load.flow, "input": INPUT}).encode()
    description = await log.describe()
    watch = LogWatch(log, description.log_id, list(await log.ends()))
    starts: set[asyncio.Task[None]] = set()
    started = 0
    before, began_s = suite.cpu_s(), time.perf_counter()
    while watch.ended < load.runs:
        while started < load.runs and started - watch.ended < IN_FLIGHT:
            task = asyncio.create_task(_start(client, body))
            starts.add(task)
            task.add_done_callback(starts.discard)
            started += 1
        if not await watch.poll():
            await asyncio.sleep(POLL_S)
    await asyncio.gather(*starts)
    await _drained(connection, list(await log.ends()))
    wall_s = time.perf_counter() - began_s
    after = suite.cpu_s()
    if watch.failed:
        raise RuntimeError(f"{watch.failed} runs of {load.flow} did not succeed")
    steps = load.runs * load.steps
    by_process = {name: (after[name] - before[name]) / steps * 1_000 for name in after}
    return {
        "runs": load.runs,
        "steps": steps,
        "in_flight": IN_FLIGHT,
        "steps_per_s": steps / wall_s,
        "cpu_ms_per_step": sum(by_process.values()),
        "cpu_ms_by_process": by_process,
        "step_latency_ms": percentiles(watch.latencies_ms),
    }


async def _start(client: HttpClient, body: bytes) -> None:
    status, answer = await client.send("POST", "/v1/runs", body)
    if status != 202:
        raise RuntimeError(f"a start was answered {status}: {answer.decode()[:300]}")


async def _drained(connection: "asyncpg.Connection[asyncpg.Record]", ends: Sequence[int]) -> None:
    """Until history's watermark has passed these ends."""
    give_up_s = time.perf_counter() + DRAIN_TIMEOUT_S
    while True:
        rows = await connection.fetch("select part, off from headrace_history.watermark")
        passed = {row["part"]: row["off"] for row in rows}
        if all(passed.get(part, -1) >= end - 1 for part, end in enumerate(ends)):
            return
        if time.perf_counter() > give_up_s:
            raise RuntimeError(f"history did not drain: {passed} against {ends}")
        await asyncio.sleep(POLL_S)


async def _single(client: HttpClient) -> dict[str, float]:
    """One run at a time, from the request to the answer that it has ended."""
    body = json.dumps({"workflow": "single", "input": INPUT}).encode()
    taken: list[float] = []
    for _ in range(SINGLE_RUNS):
        began_s = time.perf_counter()
        status, answer = await client.send("POST", "/v1/runs?wait=30s", body)
        taken.append((time.perf_counter() - began_s) * 1_000)
        if status != 200:
            raise RuntimeError(f"a run alone was answered {status}: {answer.decode()[:300]}")
    return percentiles(taken[5:])


def percentiles(values: Sequence[float]) -> dict[str, float]:
    ordered = sorted(values)
    last = len(ordered) - 1
    return {"p50": ordered[last // 2], "p99": ordered[int(last * 0.99)]}


def _reader_dsn(suite: RunningSuite) -> str:
    """The embedded server's own login, which reads the log and history's watermark."""
    kept = suite.home / "postgres"
    password = (kept / "superuser.password").read_text(encoding="ascii").strip()
    port = (kept / "port").read_text(encoding="ascii").strip()
    return f"postgresql://postgres:{password}@127.0.0.1:{port}/headrace"


def _commit() -> str:
    told = subprocess.run(
        ["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False
    )
    return told.stdout.strip() or "unknown"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
