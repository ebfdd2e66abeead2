"""Large payloads in an object store that all services share: `HEADRACE_BLOBS`."""

from pathlib import Path

import pytest

from tests.e2e.suite import Suite, begin, ended, publish
from tests.support.object_store import far_store

pytestmark = [pytest.mark.slow, pytest.mark.postgres, pytest.mark.timeout(240)]

LARGE = """\
flow: v1
name: large
inputs: {text: {type: string}}
steps:
  first: {uses: data.echo@1, with: {value: "${{ inputs.text }}"}}
  second: {needs: [first], uses: data.echo@1, with: {value: "${{ steps.first.output }}"}}
outputs: {text: "${{ steps.second.output }}"}
"""


def test_payloads_above_64_kib_go_through_the_object_store(tmp_path: Path) -> None:
    with far_store() as far:
        variables = {"HEADRACE_BLOBS": far.url, **far.environment}
        launcher = ["env", *(f"{name}={value}" for name, value in variables.items())]
        suite = Suite(tmp_path / "home", launcher=launcher)
        suite.start()
        try:
            with suite.new_tenant("large") as client:
                publish(client, LARGE)
                text = "".join(chr(0x4E00 + number % 20_000) for number in range(100_000))
                document = ended(client, begin(client, "large", {"text": text}))
                assert document["status"] == "succeeded", document
                assert document["output"] == {"text": text}
        finally:
            assert suite.stop() == 0
        assert any("/large/" in name for name in far.objects())
    assert not (tmp_path / "home" / "blobs").exists()
