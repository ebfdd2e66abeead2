"""The egress guard: what is a host, what is public, what the list can open."""

import ipaddress
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace_core.errors import EgressRefused, InvalidInput, Unavailable
from headrace_core.ids import TenantId
from headrace_runtime.egress import (
    HTTP_PORTS,
    EgressGuard,
    HostPort,
    is_public,
    may_be_listed,
    normal_host,
)

ACME = TenantId("acme")


class Names:
    """A resolver whose answers change from call to call."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self._answers = list(answers)
        self.asked = 0

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        self.asked += 1
        return self._answers[min(self.asked, len(self._answers)) - 1]


class Listed:
    def __init__(self, *pairs: tuple[str, int]) -> None:
        self._pairs = {HostPort.normal(host, port) for host, port in pairs}

    async def allows(self, tenant: TenantId, pair: HostPort) -> bool:
        return tenant == ACME and pair in self._pairs


async def addresses(guard: EgressGuard, host: str, port: int = 443) -> tuple[str, ...]:
    return (await guard.check(ACME, host, port, HTTP_PORTS)).addresses


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("Example.COM.", "example.com"),
        ("[::1]", "::1"),
        ("0:0::1", "::1"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("db_1.internal", "db_1.internal"),
        ("１２７.0.0.1", "127.0.0.1"),  # noqa: RUF001 full-width digits are the point
        ("127。0。0。1", "127.0.0.1"),
    ],
)
def test_a_host_has_one_form(text: str, normal: str) -> None:
    assert normal_host(text) == normal


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "2130706433",
        "0x7f.1",
        "0177.0.0.1",
        "127.1",
        "example.0x1",
        "fe80::1%eth0",
        "a b",
        "-a.example",
        "a..b",
        "/var/run",
        "user@host",
        "a" * 64,
        "http://example.com",
    ],
)
def test_an_address_in_disguise_is_no_host(text: str) -> None:
    with pytest.raises(InvalidInput, match="is not a host"):
        normal_host(text)


@pytest.mark.parametrize("port", [0, -1, 65_536])
def test_a_port_has_bounds(port: int) -> None:
    with pytest.raises(InvalidInput, match="is not a port"):
        HostPort.normal("example.com", port)


@pytest.mark.parametrize("text", ["93.184.215.14", "8.8.8.8", "2606:2800:21f::1"])
def test_addresses_of_the_internet_are_public(text: str) -> None:
    assert is_public(ipaddress.ip_address(text))


INSIDE = [
    "0.0.0.0",
    "10.1.2.3",
    "100.64.0.1",
    "100.100.100.200",
    "127.0.0.1",
    "168.63.129.16",
    "169.254.169.254",
    "172.31.0.1",
    "192.0.0.192",
    "192.168.1.1",
    "198.18.0.1",
    "224.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::ffff:10.0.0.1",
    "::7f00:1",
    "64:ff9b::a00:1",
    "64:ff9b:1::a00:1",
    "2002:a00:1::",
    "2001:db8::1",
    "2001::1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "ff02::1",
]


@pytest.mark.parametrize("text", INSIDE)
def test_addresses_inside_are_not_public(text: str) -> None:
    assert not is_public(ipaddress.ip_address(text))


@given(st.ip_addresses(v=4))
def test_no_way_of_writing_an_ipv4_address_makes_it_public(
    address: ipaddress.IPv4Address,
) -> None:
    for form in (
        ipaddress.IPv6Address(f"::ffff:{address}"),
        ipaddress.IPv6Address(int(ipaddress.IPv6Address("64:ff9b::")) | int(address)),
        ipaddress.IPv6Address(0x2002 << 112 | int(address) << 80),
    ):
        assert is_public(form) == is_public(address)


async def test_a_public_name_is_open_at_the_usual_ports_alone() -> None:
    guard = EgressGuard(Listed(), Names(["93.184.215.14"]))
    assert await addresses(guard, "example.com") == ("93.184.215.14",)
    with pytest.raises(EgressRefused, match=r"egress allow example\.com:8443"):
        await addresses(guard, "example.com", 8443)


async def test_another_port_opens_by_the_list_for_its_tenant() -> None:
    guard = EgressGuard(Listed(("example.com", 8443)), Names(["93.184.215.14"]))
    assert await addresses(guard, "example.com", 8443) == ("93.184.215.14",)
    with pytest.raises(EgressRefused):
        await guard.check(TenantId("other"), "example.com", 8443, HTTP_PORTS)


@pytest.mark.parametrize("text", INSIDE)
async def test_one_private_answer_among_public_ones_refuses_the_name(text: str) -> None:
    guard = EgressGuard(Listed(), Names(["93.184.215.14", text]))
    with pytest.raises(EgressRefused):
        await addresses(guard, "rebind.example")


async def test_an_allowed_name_may_resolve_to_a_private_address() -> None:
    guard = EgressGuard(Listed(("db.internal", 5433)), Names(["10.0.0.7"]))
    assert await addresses(guard, "db.internal", 5433) == ("10.0.0.7",)


@pytest.mark.parametrize("text", ["169.254.169.254", "fd00:ec2::254", "100.100.100.200"])
async def test_an_allowed_name_never_leads_to_a_metadata_service(text: str) -> None:
    guard = EgressGuard(Listed(("db.internal", 80), (text, 80)), Names([text]))
    with pytest.raises(EgressRefused, match="as an address only"):
        await addresses(guard, "db.internal", 80)
    assert await addresses(guard, text, 80) == (text,)


@pytest.mark.parametrize("text", ["0.0.0.0", "224.0.0.1", "255.255.255.255", "::", "ff02::1"])
async def test_the_list_opens_nothing_that_is_no_host_of_anybody(text: str) -> None:
    guard = EgressGuard(Listed((text, 80)), Names())
    with pytest.raises(EgressRefused, match="not an address that can be connected to"):
        await addresses(guard, text, 80)


@pytest.mark.parametrize("text", ["::ffff:127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::"])
def test_the_list_opens_no_address_inside_another(text: str) -> None:
    address = ipaddress.ip_address(text)
    assert not may_be_listed(address, HostPort.normal(text, 80))


async def test_a_name_is_resolved_at_every_check_and_only_once() -> None:
    names = Names(["93.184.215.14"], ["127.0.0.1"])
    guard = EgressGuard(Listed(), names)
    assert await addresses(guard, "rebind.example") == ("93.184.215.14",)
    assert names.asked == 1
    with pytest.raises(EgressRefused, match="is not public"):
        await addresses(guard, "rebind.example")
    assert names.asked == 2


async def test_an_address_is_not_asked_for_by_name() -> None:
    names = Names()
    assert await addresses(EgressGuard(Listed(), names), "8.8.8.8") == ("8.8.8.8",)
    assert names.asked == 0


async def test_a_name_that_does_not_resolve_may_do_so_later() -> None:
    with pytest.raises(Unavailable, match="does not resolve"):
        await addresses(EgressGuard(Listed(), Names([])), "nowhere.example")


async def test_an_answer_with_a_zone_is_refused() -> None:
    with pytest.raises(EgressRefused):
        await addresses(EgressGuard(Listed(), Names(["fe80::1%eth0"])), "zone.example")
