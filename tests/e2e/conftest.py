"""One suite per session for the tests that do not need one of their own."""

import signal
from collections.abc import Generator
from pathlib import Path

import pytest

from tests.e2e.suite import Suite

# A shell that runs the tests in its background has them ignore SIGINT, and their children inherit
# that: then no Ctrl-C would reach a command under test.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Generator[Suite]:
    home: Path = tmp_path_factory.mktemp("headrace-home")
    running = Suite(home)
    running.start()
    yield running
    if running.process is not None:
        assert running.stop() == 0
