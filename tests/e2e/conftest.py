"""One suite per session for the tests that do not need one of their own."""

from collections.abc import Generator
from pathlib import Path

import pytest

from tests.e2e.suite import Suite


@pytest.fixture(scope="session")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Generator[Suite]:
    home: Path = tmp_path_factory.mktemp("headrace-home")
    running = Suite(home)
    running.start()
    yield running
    if running.process is not None:
        assert running.stop() == 0
