"""What the definitions of these tests may refer to beside the built-in actions."""

from headrace_core.ids import PlanHash
from headrace_core.workflow.plan import Input
from headrace_core.workflow.resolution import Catalogue, FlowDescriptor

CHILD = FlowDescriptor(
    name="child",
    version=1,
    plan=PlanHash("c" * 64),
    inputs=(
        Input("name", {"type": "string"}),
        Input("limit", {"type": "integer", "default": 5}),
    ),
)
DEEP = FlowDescriptor(name="deep", version=3, plan=PlanHash("d" * 64), depth=8)
CATALOGUE = Catalogue(flows={("child", "1"): CHILD, ("deep", "stable"): DEEP})
