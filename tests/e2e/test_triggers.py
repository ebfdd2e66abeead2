"""Runs that nobody starts by hand: a signed webhook and a cron schedule, through all services."""

import hashlib
import hmac
import json
from collections.abc import Sequence

import httpx
import pytest

from tests.e2e.suite import Suite, ended, publish, until

pytestmark = [pytest.mark.slow, pytest.mark.postgres, pytest.mark.timeout(240)]

URL = "/v1/hooks/hooked/shop/orders"
SIGNATURE = "x-hub-signature-256"
FLOW = """\
flow: v1
name: hooked-orders
triggers:
  shop: {webhook: {path: shop/orders, verify: hmac, secret: SHOP_HOOK, respond: result}}
  often:
    schedule: {cron: "* * * * *", timezone: Europe/Berlin, overlap: skip}
    with: {order: 0}
inputs:
  order: {type: integer}
steps:
  say: {set: {text: "order ${{ inputs.order }} by ${{ trigger.id }}"}}
outputs: {text: "${{ steps.say.output.text }}"}
"""


def test_a_signed_webhook_and_a_cron_schedule_start_runs(suite: Suite) -> None:
    with suite.new_tenant("hooked") as client:
        client.put("/v1/secrets/SHOP_HOOK", json={"value": "s3cret"}).raise_for_status()
        publish(client, FLOW)
        body = json.dumps({"order": 7}).encode()
        digest = hmac.new(b"s3cret", body, hashlib.sha256).hexdigest()
        answer = client.post(URL, content=body, headers={SIGNATURE: f"sha256={digest}"})
        assert answer.status_code == 200, answer.text
        assert answer.json()["output"] == {"text": "order 7 by shop"}
        forged = client.post(URL, content=body, headers={SIGNATURE: f"sha256={digest[::-1]}"})
        assert forged.status_code == 404
        until(lambda: len(_runs(client)) > 1, "the schedule fires", 90)
        fired = ended(client, _runs(client)[0])
        assert fired["output"] == {"text": "order 0 by often"}


def _runs(client: httpx.Client) -> Sequence[str]:
    """Newest first."""
    return [one["id"] for one in client.get("/v1/runs").json()["runs"]]
