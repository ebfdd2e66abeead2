"""Exports of runs as history writes them, sealed with keys of the test's own."""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from headrace_contracts.codec import encode_body
from headrace_core.ids import PlanHash, RunId, StepKey, TenantId
from headrace_core.log.chain import chain_hash
from headrace_core.payload import REFERENCE, SEALED, Stored
from headrace_core.run import events as ev
from headrace_core.workflow.compile import compile_definition
from headrace_core.workflow.plan import Plan
from headrace_core.workflow.plan_json import plan_to_json
from headrace_core.workflow.resolution import Catalogue
from headrace_history.domain.export import BlobLine, ExportHeader, TurnLine, line
from tests.unit.history.recorded_runs import START_MS, TENANT, assigned, ready, run_of

RUN = run_of(1)
KEY_ID = 7
ADDRESS = "ab" * 32
DEFINITION = """\
flow: v1
name: orders
steps:
  open: {uses: data.echo@1, with: {value: 1}}
  hidden: {uses: data.echo@1, with: {value: 1}, sensitive: true}
"""


def plan() -> Plan:
    compiled = compile_definition(DEFINITION.encode(), Catalogue())
    assert isinstance(compiled, Plan)
    return compiled


@dataclass(slots=True)
class Export:
    """`lines` are as in a file; each test changes what it is about."""

    run: RunId = RUN
    tenant: TenantId = TENANT
    key: bytes = field(default_factory=lambda: AESGCM.generate_key(256))
    blob_key: bytes = field(default_factory=lambda: AESGCM.generate_key(256))

    def seal(self, value: Any, owner: str = "", key: bytes = b"", flags: int = SEALED) -> Stored:
        header = bytes((flags,)) + KEY_ID.to_bytes(4)
        nonce = os.urandom(12)
        associated = f"{self.tenant}\0{owner or self.run}".encode() + header
        content = json.dumps(value).encode()
        return Stored(header + nonce + AESGCM(key or self.key).encrypt(nonce, content, associated))

    def large(self, value: Any) -> tuple[Stored, BlobLine]:
        reference = self.seal({"blob": ADDRESS, "bytes": 9}, flags=SEALED | REFERENCE)
        sealed = self.seal(value, ADDRESS, self.blob_key)
        return reference, BlobLine(blob=ADDRESS, key=self.blob_key, sealed=sealed)

    def turns(self, output: Stored, secret: Stored) -> list[list[ev.RunEvent]]:
        return [
            [self._started(), ready("open"), assigned("open")],
            [self._succeeded("open", output), ready("hidden"), assigned("hidden")],
            [self._succeeded("hidden", secret), ev.RunSucceeded(output=output)],
        ]

    def lines(
        self,
        turns: Sequence[Sequence[ev.RunEvent]],
        blobs: Sequence[BlobLine] = (),
        **header: Any,
    ) -> list[bytes]:
        return self.lines_of_bodies(
            [(len(events), encode_body(tuple(events))) for events in turns], blobs, **header
        )

    def lines_of_bodies(
        self,
        bodies: Sequence[tuple[int, bytes]],
        blobs: Sequence[BlobLine] = (),
        **header: Any,
    ) -> list[bytes]:
        """The chain holds, whatever the bodies are."""
        sequence, chain, lines = 0, b"", list[bytes]()
        for number, (count, body) in enumerate(bodies):
            time_ms = START_MS + number * 10
            chain = chain_hash(chain, self.tenant, self.run, sequence + 1, time_ms, body)
            entry = TurnLine(
                offset=number,
                time_ms=time_ms,
                sequence=sequence + 1,
                count=count,
                chain=chain,
                body=body,
            )
            lines.append(line(entry))
            sequence += count
        return [
            line(self._header(sequence, chain, header)),
            *lines,
            *(line(blob) for blob in blobs),
        ]

    def _header(self, sequence: int, chain: bytes, changes: dict[str, Any]) -> ExportHeader:
        compiled = plan()
        fields: dict[str, Any] = {
            "run": self.run,
            "tenant": self.tenant,
            "flow": "orders",
            "version": 1,
            "plan_hash": compiled.hash,
            "plan": json.loads(plan_to_json(compiled)),
            "sequence": sequence,
            "chain": chain,
            "keys": {KEY_ID: self.key},
        }
        return ExportHeader(**{**fields, **changes})

    def _started(self) -> ev.RunStarted:
        return ev.RunStarted(
            flow="orders",
            version=1,
            plan=PlanHash(plan().hash),
            input=self.seal({"order": 7}),
            trigger="api",
            started_by="key:ci",
        )

    @staticmethod
    def _succeeded(step: str, output: Stored) -> ev.StepSucceeded:
        return ev.StepSucceeded(step=StepKey(step), attempt=1, output=output)
