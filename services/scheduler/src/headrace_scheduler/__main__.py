"""`python -m headrace_scheduler`: the scheduler as a process."""

import os

from headrace_runtime.service import main
from headrace_scheduler.settings import SchedulerSettings
from headrace_scheduler.wiring import build

if __name__ == "__main__":
    main(build, SchedulerSettings, os.environ)
