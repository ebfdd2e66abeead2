"""The JSON Schema of `flow: v1`, generated from the model.

Draft-07, because yaml-language-server and the editors built on it read draft-07 and below.
"""

from functools import cache
from typing import Any, cast

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode, JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from headrace_core.workflow.model import Flow

DIALECT = "http://json-schema.org/draft-07/schema#"
_REFERENCE = "#/definitions/{model}"


class Draft07(GenerateJsonSchema):
    """Says what the model enforces: absent keys are absent, not null; keys obey their pattern."""

    schema_dialect = DIALECT

    def generate(self, schema: CoreSchema, mode: JsonSchemaMode = "validation") -> JsonSchemaValue:
        generated = super().generate(schema, mode)
        definitions = generated.pop("$defs", {})
        root: JsonSchemaValue = {"$schema": DIALECT, **generated}
        if definitions:
            root["definitions"] = {name: definitions[name] for name in sorted(definitions)}
        return root

    def nullable_schema(self, schema: core_schema.NullableSchema) -> JsonSchemaValue:
        return self.generate_inner(schema["schema"])

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        return self.generate_inner(schema["schema"])

    def dict_schema(self, schema: core_schema.DictSchema) -> JsonSchemaValue:
        generated: JsonSchemaValue = {"type": "object"}
        keys = self.generate_inner(schema["keys_schema"]) if "keys_schema" in schema else {}
        if "pattern" in keys:
            generated["propertyNames"] = {"pattern": keys["pattern"]}
        values = self.generate_inner(schema["values_schema"]) if "values_schema" in schema else {}
        if values:
            generated["additionalProperties"] = values
        if "min_length" in schema:
            generated["minProperties"] = schema["min_length"]
        return generated

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


@cache
def flow_schema() -> dict[str, Any]:
    generated = Flow.model_json_schema(
        by_alias=True, ref_template=_REFERENCE, schema_generator=Draft07
    )
    return _without_titles(generated) | {"title": "flow v1"}


def _without_titles(node: Any) -> Any:
    """Class names say nothing to the reader of a schema; a property named `title` stays."""
    if isinstance(node, list):
        return [_without_titles(item) for item in cast(list[Any], node)]
    if not isinstance(node, dict):
        return node
    return {
        key: _without_titles(value)
        for key, value in cast(dict[str, Any], node).items()
        if not (key == "title" and isinstance(value, str))
    }
