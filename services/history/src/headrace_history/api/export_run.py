"""ExportRun: a run as JSON lines, in chunks below 1 MB; a chunk may end inside a line."""

from collections.abc import AsyncGenerator

from headrace.history.v1 import history_service_pb2 as pb
from headrace_core.ids import RunId, TenantId
from headrace_history.app.exporter import Exporter

CHUNK_BYTES = 900_000


async def handle(
    exporter: Exporter, request: pb.ExportRunRequest
) -> AsyncGenerator[pb.ExportRunResponse, None]:
    gathered: list[bytes] = []
    size = 0
    async for line in exporter.lines(TenantId(request.tenant), RunId(request.run)):
        if size and size + len(line) > CHUNK_BYTES:
            yield pb.ExportRunResponse(chunk=b"".join(gathered))
            gathered, size = [], 0
        for begin in range(0, len(line), CHUNK_BYTES):
            piece = line[begin : begin + CHUNK_BYTES]
            gathered.append(piece)
            size += len(piece)
            if size >= CHUNK_BYTES:
                yield pb.ExportRunResponse(chunk=b"".join(gathered))
                gathered, size = [], 0
    if gathered:
        yield pb.ExportRunResponse(chunk=b"".join(gathered))
