# The part of ruamel.yaml that headrace_core.workflow.loader uses; its own annotations name `Any` or
# nothing at all.
from collections.abc import Iterator

from ruamel.yaml.events import Event

class YAML:
    max_depth: int | None
    def __init__(self, *, typ: str | None = ..., pure: bool = ...) -> None: ...
    def parse(self, stream: str | bytes) -> Iterator[Event]: ...
