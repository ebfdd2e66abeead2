"""The streams to the schedulers: the dispatch client that workers use too."""

import random
import secrets
from collections.abc import Sequence

from headrace_core.ids import ExecutorId
from headrace_runtime.address import Address
from headrace_worker.dispatch_client import DispatchClient
from headrace_worker.protocol import DispatchProtocol


def draw_executor_id() -> ExecutorId:
    """Another one at every start: a restarted process holds nothing of what the last one held."""
    return ExecutorId(f"exec_{secrets.token_hex(8)}")


def scheduler_streams(
    executor: ExecutorId,
    lanes: Sequence[str],
    schedulers: Sequence[Address],
    window: int,
    token: str,
) -> DispatchClient:
    """`token` proves that this process is of the installation."""
    protocol = DispatchProtocol(executor, lanes, window, token)
    return DispatchClient(protocol, [str(address) for address in schedulers], random.random)
