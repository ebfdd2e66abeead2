"""Which credential opens which lanes."""

import pytest

from headrace_core.errors import Forbidden, InvalidInput, RequestError, Unauthenticated
from headrace_core.ids import TenantId
from headrace_core.lanes import split_worker_lane, worker_lane
from headrace_scheduler.app.admission import LANES_MAX, Admission

TOKEN = "hr_internal_00ff"
KEY = "hr_live_of_acme"


class OneKey:
    async def tenant_of(self, api_key: str) -> TenantId:
        if api_key != KEY:
            raise Unauthenticated("no such key")
        return TenantId("acme")


admission = Admission(TOKEN, OneKey())


async def test_the_internal_token_opens_the_shared_lane_and_nothing_else() -> None:
    admitted = await admission.admit(TOKEN, ["shared"])
    assert (admitted.tenant, dict(admitted.lanes)) == (None, {"shared": "shared"})
    for lane in ("worker:acme:resize@1", "worker::resize@1", "other"):
        with pytest.raises(InvalidInput, match="no lane"):
            await admission.admit(TOKEN, ["shared", lane])


@pytest.mark.parametrize("key", ["", "hr_internal_00fe", "hr_internal_", "ключ"])
async def test_without_the_token_nobody_serves_the_shared_lane(key: str) -> None:
    with pytest.raises(Unauthenticated):
        await admission.admit(key, ["shared"])
    with pytest.raises(Forbidden, match="installation's own executors"):
        await admission.admit(KEY, ["worker::a@1", "shared"])


async def test_a_workers_tenant_comes_from_its_key() -> None:
    admitted = await admission.admit(KEY, ["worker::resize@1", "worker:acme:read.all@2"])
    assert admitted.tenant == "acme"
    assert dict(admitted.lanes) == {
        "worker::resize@1": "worker:acme:resize@1",
        "worker:acme:read.all@2": "worker:acme:read.all@2",
    }


@pytest.mark.parametrize(
    ("lane", "refused"),
    [
        ("worker:other:resize@1", Forbidden),
        ("worker:acme-2:resize@1", Forbidden),
        ("worker:acme:resize", InvalidInput),
        ("worker:acme", InvalidInput),
        ("worker:acme:x:resize@1", InvalidInput),
        ("worker:acme:resize@1\n", InvalidInput),
        ("worker:acme:../resize@1", InvalidInput),
        ("Shared", InvalidInput),
        ("", InvalidInput),
    ],
)
async def test_a_lane_that_is_not_the_keys_is_refused(
    lane: str, refused: type[RequestError]
) -> None:
    with pytest.raises(refused):
        await admission.admit(KEY, ["worker::good@1", lane])


async def test_a_stream_serves_a_bounded_number_of_lanes() -> None:
    lanes = [f"worker::t{number}@1" for number in range(LANES_MAX + 1)]
    assert len((await admission.admit(KEY, lanes[1:])).lanes) == LANES_MAX
    with pytest.raises(InvalidInput, match="at most"):
        await admission.admit(KEY, lanes)


def test_a_lane_is_split_into_what_it_was_made_of() -> None:
    assert split_worker_lane(worker_lane("acme", "resize@1")) == ("acme", "resize@1")
    assert split_worker_lane(worker_lane("", "resize@1.2.3")) == ("", "resize@1.2.3")
    assert split_worker_lane("shared") is None
