"""The egress guard in the service as it is wired: it is never off."""

import pytest

from headrace.connector.v1 import connector_service_pb2 as pb
from headrace.connector.v1 import vault_service_pb2 as vpb
from tests.integration.connectors.conftest import TENANT, Connectors, output_of
from tests.support.far_server import Answer, FarServer

pytestmark = pytest.mark.postgres


async def test_a_refused_loopback_port_is_named(connectors: Connectors, far: FarServer) -> None:
    outcome = await connectors.invoke("http.get", {"url": far.url()})
    assert (outcome.word, outcome.error_type) == (pb.WORD_PERMANENT, "egress.refused")
    assert f"headrace egress allow 127.0.0.1:{far.port}" in outcome.error_message
    assert far.connections == 0


async def test_a_loopback_port_on_the_list_works_for_its_tenant_alone(
    connectors: Connectors, far: FarServer
) -> None:
    await connectors.allow("127.0.0.1", far.port)
    output_of(await connectors.invoke("http.get", {"url": far.url()}))
    other = await connectors.invoke("http.get", {"url": far.url()}, tenant="other")
    assert other.error_type == "egress.refused"
    assert len(far.received) == 1


async def test_what_was_taken_back_holds_at_once_also_for_open_connections(
    connectors: Connectors, reachable: FarServer
) -> None:
    output_of(await connectors.invoke("http.get", {"url": reachable.url()}))
    await connectors.deny("127.0.0.1", reachable.port)
    outcome = await connectors.invoke("http.get", {"url": reachable.url()})
    assert outcome.error_type == "egress.refused"
    assert len(reachable.received) == 1


async def test_a_name_that_resolves_to_a_private_address_needs_the_list_too(
    connectors: Connectors, far: FarServer
) -> None:
    url = {"url": far.url(host="localhost")}
    assert (await connectors.invoke("http.get", url)).error_type == "egress.refused"
    await connectors.allow("127.0.0.1", far.port)
    # Exactly the pair that was allowed, not what it stands for.
    assert (await connectors.invoke("http.get", url)).error_type == "egress.refused"
    await connectors.allow("LOCALHOST", far.port)
    output_of(await connectors.invoke("http.get", url))


@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.169.254/latest/meta-data/",
        "http://127.0.0.1/",
        "http://[::1]/",
        "http://[::ffff:127.0.0.1]/",
        "http://10.0.0.1/",
        "http://localhost/",
        "http://0.0.0.0/",
        "http://93.184.215.14:22/",
    ],
)
async def test_addresses_inside_and_other_ports_are_refused(
    connectors: Connectors, url: str
) -> None:
    outcome = await connectors.invoke("http.get", {"url": url})
    assert (outcome.word, outcome.error_type) == (pb.WORD_PERMANENT, "egress.refused")


async def test_a_redirect_is_checked_like_any_other_address(
    connectors: Connectors, reachable: FarServer, unused_tcp_port: int
) -> None:
    inside = f"http://127.0.0.1:{unused_tcp_port}/"
    reachable.script = lambda _: Answer(302, headers={"location": inside})
    outcome = await connectors.invoke("http.get", {"url": reachable.url()})
    assert (outcome.word, outcome.error_type) == (pb.WORD_PERMANENT, "egress.refused")


async def test_a_redirect_is_followed_and_takes_no_credentials_to_another_origin(
    connectors: Connectors, reachable: FarServer
) -> None:
    await connectors.allow("localhost", reachable.port)
    targets = {
        "/a": Answer(301, headers={"location": "/b"}),
        "/b": Answer(302, headers={"location": reachable.url("/c", host="localhost")}),
    }
    reachable.script = lambda sent: targets.get(sent.target, Answer(body=b'"here"'))
    given = {"url": reachable.url("/a"), "auth": "token-of-acme", "headers": {"x-key": "k"}}
    assert output_of(await connectors.invoke("http.get", given))["body"] == "here"
    first, second, third = reachable.received
    for sent in (first, second):
        assert (sent.headers["authorization"], sent.headers["x-key"]) == (
            "Bearer token-of-acme",
            "k",
        )
    assert not {"authorization", "x-key"} & set(third.headers)


async def test_a_write_is_not_sent_to_where_a_redirect_points(
    connectors: Connectors, reachable: FarServer
) -> None:
    await connectors.allow("localhost", reachable.port)
    elsewhere = {"location": reachable.url("/b", host="localhost")}
    moved: list[tuple[int, int]] = []
    for status in (301, 302, 307):
        reachable.script = lambda _, status=status: Answer(status, headers=elsewhere)
        given = {"url": reachable.url(), "body": {"amount": 1}}
        moved.append((status, (await connectors.invoke("http.post", given)).word))
    assert moved == [
        (301, pb.WORD_PERMANENT),
        (302, pb.WORD_UNKNOWN_OUTCOME),
        (307, pb.WORD_PERMANENT),
    ]
    assert {sent.target for sent in reachable.received} == {"/"}


async def test_redirects_in_a_circle_end(connectors: Connectors, reachable: FarServer) -> None:
    reachable.script = lambda _: Answer(302, headers={"location": "/"})
    outcome = await connectors.invoke("http.get", {"url": reachable.url()})
    assert outcome.error_type == "http.redirects"
    assert len(reachable.received) == 6


async def test_the_list_shows_what_was_allowed_in_normal_form(connectors: Connectors) -> None:
    await connectors.allow("Db.Internal.", 5433)
    await connectors.allow("db.internal", 5433)
    await connectors.allow("[::1]", 80)
    listed = await connectors.vault.ListEgress(vpb.ListEgressRequest(tenant=TENANT))
    assert [(pair.host, pair.port) for pair in listed.pairs] == [("::1", 80), ("db.internal", 5433)]
    assert not (await connectors.vault.ListEgress(vpb.ListEgressRequest(tenant="other"))).pairs
