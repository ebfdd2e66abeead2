"""The egress guard: every connection that a user's text names goes through it; it is never off.

A host is brought into normal form, resolved once, every address is checked, and the caller
connects to a checked address and to nothing else, so a name that answers differently the second
time (DNS rebinding) gains nothing. Redirects are new connections and are checked again.

Addresses that are not public are open only where the tenant's admin allowed exactly that host and
port. The ranges are those of the IANA special-purpose registries (RFC 6890 and its updates).
"""

import asyncio
import ipaddress
import re
import socket
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, Self

import idna

from headrace_core.errors import EgressRefused, InvalidInput, Unavailable
from headrace_core.ids import TenantId
from headrace_runtime.address import PORT_MAX

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
Resolve = Callable[[str, int], Awaitable[Sequence[str]]]

HTTP_PORTS = frozenset({80, 443})
POSTGRES_PORTS = frozenset({5432, 6432})
HOST_CHARACTERS_MAX = 253
RESOLVE_TIMEOUT_S = 10.0
ADDRESSES_MAX = 16

# What ends in a number and is no plain address is one in disguise: 2130706433, 0x7f.1, 0177.0.0.1.
_ENDS_IN_NUMBER = re.compile(r"(^|\.)(0[xX][0-9a-fA-F]*|[0-9]+)$")
_NAME = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)(\.(?!-)[a-z0-9_-]{1,63}(?<!-))*")

# Never, not even by the list: nothing of ours is there, and connecting means something else.
_NEVER = tuple(
    map(
        ipaddress.ip_network,
        ("0.0.0.0/8", "224.0.0.0/4", "240.0.0.0/4", "::/128", "ff00::/8"),
    )
)
# Metadata services live here. By the list only as an address: whoever serves a name's DNS could
# point it here.
_LINK_LOCAL = tuple(
    map(
        ipaddress.ip_network,
        (
            "169.254.0.0/16",
            "fe80::/10",
            "fec0::/10",
            "fd00:ec2::254/128",
            "fd20:ce::254/128",
            "100.100.100.200/32",
            "168.63.129.16/32",
            "192.0.0.192/32",
        ),
    )
)
# By the list.
_NOT_PUBLIC = tuple(
    map(
        ipaddress.ip_network,
        (
            "10.0.0.0/8",
            "100.64.0.0/10",
            "127.0.0.0/8",
            "172.16.0.0/12",
            "192.0.0.0/24",
            "192.0.2.0/24",
            "192.31.196.0/24",
            "192.52.193.0/24",
            "192.88.99.0/24",
            "192.168.0.0/16",
            "192.175.48.0/24",
            "198.18.0.0/15",
            "198.51.100.0/24",
            "203.0.113.0/24",
        ),
    )
)
_GLOBAL_UNICAST_6 = ipaddress.ip_network("2000::/3")
_NOT_PUBLIC_6 = tuple(
    map(ipaddress.ip_network, ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20"))
)
_NAT64 = tuple(map(ipaddress.ip_network, ("64:ff9b::/96", "64:ff9b:1::/48")))
_COMPATIBLE = ipaddress.ip_network("::/96")


class AllowList(Protocol):
    """`headrace_runtime.allowed_egress.AllowedEgress`."""

    async def allows(self, tenant: TenantId, pair: "HostPort") -> bool: ...


@dataclass(frozen=True, slots=True)
class HostPort:
    """In normal form: an address as its library writes it, a name in lower-case ASCII."""

    host: str
    port: int

    @classmethod
    def normal(cls, host: str, port: int) -> Self:
        """Raises InvalidInput for what is neither an address nor a name."""
        if not 1 <= port <= PORT_MAX:
            raise InvalidInput(f"{port} is not a port: it is between 1 and {PORT_MAX}.")
        return cls(normal_host(host), port)

    @property
    def address(self) -> IpAddress | None:
        """None for a name."""
        try:
            return ipaddress.ip_address(self.host)
        except ValueError:
            return None

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Target:
    """What may be connected to now: `addresses` in order, and none but these."""

    pair: HostPort
    addresses: tuple[str, ...]
    listed: bool
    """The tenant's admin allowed the pair."""


def normal_host(text: str) -> str:
    """Raises InvalidInput, with what would be right."""
    host = text.strip()
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    try:
        # Without a zone: an interface of ours is nobody's business.
        return str(ipaddress.ip_address(host)) if "%" not in host else _not_a_host(text)
    except ValueError:
        pass
    try:
        name = idna.encode(host.rstrip("."), uts46=True).decode() if host else ""
    except idna.IDNAError:
        # IDNA refuses underscores and the like, which names of machines inside a network have.
        name = host.rstrip(".").lower()
    if not name or len(name) > HOST_CHARACTERS_MAX or not _NAME.fullmatch(name):
        return _not_a_host(text)
    try:
        # Full-width digits and dots have only now become an address.
        return str(ipaddress.ip_address(name))
    except ValueError:
        pass
    if _ENDS_IN_NUMBER.search(name):
        raise InvalidInput(
            f"{text!r} is not a host: write an address in its plain form, such as 192.0.2.1."
        )
    return name


def _not_a_host(text: str) -> str:
    raise InvalidInput(f"{text[:100]!r} is not a host: it is neither a name nor an address.")


def is_public(address: IpAddress) -> bool:
    address = _embedded(address)
    if isinstance(address, ipaddress.IPv4Address):
        return not any(address in network for network in (*_NEVER, *_LINK_LOCAL, *_NOT_PUBLIC))
    return address in _GLOBAL_UNICAST_6 and not any(address in network for network in _NOT_PUBLIC_6)


def may_be_listed(address: IpAddress, pair: HostPort) -> bool:
    """Whether the tenant's admin can open this address by allowing the pair."""
    inner = _embedded(address)
    if any(inner in network for network in _NEVER):
        return False
    # Anything but its plain form is a way around somebody's check.
    if inner != address:
        return False
    if any(address in network for network in _LINK_LOCAL):
        return pair.address == address
    return True


def _embedded(address: IpAddress) -> IpAddress:
    """The IPv4 address within, where there is one: mapped, compatible, NAT64, 6to4."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address.sixtofour is not None:
        return address.sixtofour
    last = ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
    if any(address in network for network in _NAT64):
        return last
    return last if address in _COMPATIBLE and int(address) > 1 else address


async def resolve_by_system(host: str, port: int) -> Sequence[str]:
    """Addresses in the system's order of preference. Raises OSError."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class EgressGuard:
    def __init__(self, allow_list: AllowList, resolve: Resolve = resolve_by_system) -> None:
        self._allow_list = allow_list
        self._resolve = resolve

    async def is_listed(self, tenant: TenantId, pair: HostPort) -> bool:
        """The tenant's admin allowed exactly this pair, as of now."""
        return await self._allow_list.allows(tenant, pair)

    async def check(
        self, tenant: TenantId, host: str, port: int, open_ports: frozenset[int]
    ) -> Target:
        """Resolve and check; to be called for every connection, just before it.

        `open_ports` are open on public addresses without the list. Raises InvalidInput for what
        is no host, EgressRefused, and Unavailable for a name that does not resolve now.
        """
        pair = HostPort.normal(host, port)
        listed = await self._allow_list.allows(tenant, pair)
        if not listed and port not in open_ports:
            raise EgressRefused(
                f"Port {port} is not open: {_how_to_allow(pair)}, or use one of "
                f"{', '.join(map(str, sorted(open_ports)))}."
            )
        literal = pair.address
        addresses = [literal] if literal is not None else await self._resolved(pair)
        # One bad answer among good ones refuses the name: which one is used is chance.
        for address in addresses:
            if not is_public(address) and not (listed and may_be_listed(address, pair)):
                raise EgressRefused(_refusal(address, pair))
        return Target(pair, tuple(map(str, addresses)), listed)

    async def _resolved(self, pair: HostPort) -> list[IpAddress]:
        try:
            async with asyncio.timeout(RESOLVE_TIMEOUT_S):
                found = await self._resolve(pair.host, pair.port)
        except (OSError, TimeoutError, UnicodeError) as fault:
            raise Unavailable(f"The name {pair.host!r} does not resolve.") from fault
        if not found:
            raise Unavailable(f"The name {pair.host!r} does not resolve.")
        try:
            # Too many to try: whoever answers so many wants something else than to be reached.
            return [ipaddress.ip_address(text) for text in found[:ADDRESSES_MAX]]
        except ValueError:
            # With a zone, hence link-local.
            raise EgressRefused(f"{pair} is not public.") from None


def _refusal(address: IpAddress, pair: HostPort) -> str:
    if may_be_listed(address, pair):
        return f"{pair} is not public: {_how_to_allow(pair)}."
    if any(address in network for network in _LINK_LOCAL):
        return f"{pair} is link-local or a metadata service: it can be allowed as an address only."
    return f"{pair} is not an address that can be connected to from here."


def _how_to_allow(pair: HostPort) -> str:
    return f"the tenant's admin may allow exactly {pair} (headrace egress allow {pair})"
