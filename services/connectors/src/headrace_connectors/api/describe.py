"""ListConnectors and Describe: what there is."""

import orjson

from headrace.connector.v1 import connector_service_pb2 as pb
from headrace_connectors.domain.catalogue import Catalogue


async def list_connectors(catalogue: Catalogue) -> pb.ListConnectorsResponse:
    connectors = [
        pb.Connector(id=one.id, title=one.title, actions=list(one.actions))
        for one in catalogue.connectors
    ]
    return pb.ListConnectorsResponse(connectors=connectors)


async def describe(catalogue: Catalogue, request: pb.DescribeRequest) -> pb.DescribeResponse:
    """Raises NotFound."""
    action, _ = catalogue.find(request.action)
    described = pb.Action(
        id=action.name,
        version=action.version,
        title=action.title,
        description=action.description,
        effect=action.effect.value,
        idempotency=action.idempotency.value,
        input_schema=orjson.dumps(action.input_schema),
        output_schema=b"" if action.output_schema is None else orjson.dumps(action.output_schema),
        lock=action.lock,
    )
    return pb.DescribeResponse(action=described)
