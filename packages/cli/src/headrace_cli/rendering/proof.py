"""What a replay proved, in words."""

from collections.abc import Mapping
from typing import Any


def render_proof(proof: Mapping[str, Any]) -> str:
    lines = [
        f"Verified  {proof['events']} events in {proof['records']} records, as they were written",
        f"Chain     {proof['chain']}",
        f"Payloads  {_payloads(proof['payloads'])}",
    ]
    if proof["payloads"]["tampered"]:
        lines.append("A payload is not what was sealed for this run: do not trust what it shows")
    return "\n".join(lines)


def _payloads(counts: Mapping[str, int]) -> str:
    """Of what there is none is not worth a word, unless nothing was opened."""
    said = [f"{count} {name}" for name, count in counts.items() if count]
    return ", ".join(said) or "none"
