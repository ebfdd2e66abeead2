"""`python -m headrace_connectors`, configured by environment variables."""

import os

from headrace_connectors.settings import ConnectorsSettings
from headrace_connectors.wiring import build
from headrace_runtime.service import main

if __name__ == "__main__":
    main(build, ConnectorsSettings, os.environ)
