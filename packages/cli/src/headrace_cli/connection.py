"""Where a command connects and with which key: named ones, else the suite of the home.

Keys that the home keeps are for its own suite alone; they are never sent to another address.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from headrace_cli.api_client import Target
from headrace_cli.home import Home
from headrace_cli.ports import GATEWAY
from headrace_core.errors import InvalidInput, Unauthenticated, Unavailable
from headrace_runtime.postgres.secret_file import read_secret

START_IT = "Start it with `headrace up`"


class Connections:
    """Targets for one command line; None stands for an option that was not given."""

    def __init__(self, home: Home, url: str | None, key: str | None, tenant: str | None) -> None:
        self._home = home
        self._url = url.rstrip("/") if url else None
        self._key = key
        self._tenant = tenant

    def as_administrator(self) -> Target:
        """Raises Unavailable, Unauthenticated, SetupError."""
        return self._target(self._key or self._own_key(self._home.admin_key_file))

    def as_tenant(self) -> Target:
        """Raises Unavailable, Unauthenticated, InvalidInput, SetupError."""
        return self._target(self._key or self._tenant_key())

    @property
    def is_own(self) -> bool:
        """Whether the suite of the home is meant."""
        return self._url is None

    def _target(self, key: str) -> Target:
        if self._url is not None:
            return Target(self._url, key)
        return Target(self._own_url(), key, _remedy(self._home))

    def _own_url(self) -> str:
        address = running_address(self._home)
        if address is None:
            raise Unavailable(
                f"No Headrace runs in {self._home.path}. {_remedy(self._home)}, or name another "
                "with --url or HEADRACE_URL."
            )
        return f"http://{address}"

    def _tenant_key(self) -> str:
        kept = kept_tenants(self._home)
        if self._url is None and not self._tenant and len(kept) > 1:
            raise InvalidInput(
                f"{self._home.path} keeps keys of several tenants ({', '.join(kept)}). "
                "Choose one with --tenant or HEADRACE_TENANT."
            )
        tenant = self._tenant or next(iter(kept), "")
        if self._url is None and not tenant:
            self._own_url()
            raise Unauthenticated(
                f"There is no tenant's key in {self._home.path} yet. Add a tenant with "
                "`headrace tenants add NAME`, or give a key with --key or HEADRACE_API_KEY."
            )
        return self._own_key(self._home.tenant_key_file(tenant))

    def _own_key(self, file: Path) -> str:
        if self._url is not None:
            raise Unauthenticated(
                f"A key for {self._url} is needed: --key or HEADRACE_API_KEY. "
                "Those of the home are for the services that run here."
            )
        self._own_url()
        key = read_secret(file)
        if key is None:
            raise Unauthenticated(
                f"There is no key in {file}. Give one with --key or HEADRACE_API_KEY."
            )
        return key


def kept_tenants(home: Home) -> list[str]:
    """Tenants of whom the home keeps a key."""
    return sorted(file.stem for file in home.tenant_keys.glob("*.key"))


def running_address(home: Home) -> str | None:
    """Of the API that `headrace up` runs in this home; None when its supervisor is gone."""
    try:
        found = cast("Mapping[str, Any]", json.loads(home.processes_file.read_bytes()))
        supervisor, services = found["supervisor"], found["services"]
        address = services[GATEWAY]["address"]
    except (FileNotFoundError, ValueError, KeyError):
        return None
    return str(address) if _is_alive(int(supervisor)) else None


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _remedy(home: Home) -> str:
    return START_IT if home.is_default else f"{START_IT.rstrip('`')} --home {home.path}`"
