"""`python -m headrace_api_gateway` serves."""

import os

from headrace_api_gateway.settings import GatewaySettings
from headrace_api_gateway.wiring import build
from headrace_runtime.service import main

if __name__ == "__main__":
    main(build, GatewaySettings, os.environ)
