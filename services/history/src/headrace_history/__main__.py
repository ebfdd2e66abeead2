"""`python -m headrace_history` serves; `python -m headrace_history rebuild` rebuilds."""

import asyncio
import os
import sys

from headrace_core.errors import HeadraceError
from headrace_history.rebuild import rebuild
from headrace_history.settings import HistorySettings
from headrace_history.wiring import build
from headrace_runtime.service import Exit, main
from headrace_runtime.telemetry import Level, Logger, capture_library_logs


def rebuild_from_environment() -> int:
    try:
        settings = HistorySettings.from_environment(os.environ)
        log = Logger(HistorySettings.service, Level.named(settings.log_level))
        capture_library_logs(log)
        return asyncio.run(rebuild(settings, log))
    except HeadraceError as fault:
        sys.stderr.write(f"{fault.code}: {fault.message}\n")
        return Exit.MISCONFIGURED


if __name__ == "__main__":
    match sys.argv[1:]:
        case []:
            main(build, HistorySettings, os.environ)
        case ["rebuild"]:
            sys.exit(rebuild_from_environment())
        case _:
            sys.exit("usage: python -m headrace_history [rebuild]")
