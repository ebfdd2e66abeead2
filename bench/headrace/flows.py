"""The flows of the benchmark, and their input of 300 bytes."""

import json

SEQUENTIAL_STEPS, FAN_OUT_STEPS, SINGLE_STEPS = 5, 10, 3
PAYLOAD = {
    "items": [{"id": n, "sku": f"SKU-{n:05d}", "qty": n % 3, "price": 9.99} for n in range(6)],
    "country": "DE",
}
INPUT = {"document": PAYLOAD}
assert 280 < len(json.dumps(PAYLOAD, separators=(",", ":"))) < 320


def sequential(name: str, steps: int) -> str:
    lines = [_head(name), "  s0: {uses: data.echo@1, with: {value: '${{ inputs.document }}'}}"]
    for number in range(1, steps):
        before = f"s{number - 1}"
        lines.append(
            f"  s{number}: {{uses: data.echo@1, needs: [{before}], "
            f"with: {{value: '${{{{ steps.{before}.output }}}}'}}}}"
        )
    return "\n".join(lines) + "\n"


def fan_out(name: str, steps: int) -> str:
    lines = [_head(name)]
    lines += [
        f"  s{number}: {{uses: data.echo@1, with: {{value: '${{{{ inputs.document }}}}'}}}}"
        for number in range(steps)
    ]
    return "\n".join(lines) + "\n"


def _head(name: str) -> str:
    return f"flow: v1\nname: {name}\ninputs: {{document: {{type: object}}}}\nsteps:"
