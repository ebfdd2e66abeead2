"""`python -m headrace_executor`, configured by environment variables."""

import os

from headrace_executor.settings import ExecutorSettings
from headrace_executor.wiring import build
from headrace_runtime.service import main

if __name__ == "__main__":
    main(build, ExecutorSettings, os.environ)
