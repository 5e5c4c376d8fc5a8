"""The description is checked more strictly than it promises: an answer's field that it does not name is a finding."""

from typing import Any

import schemathesis


def close(node: Any) -> None:
    """Objects whose fields are listed hold these and no others, unless they say otherwise."""
    if isinstance(node, dict):
        if node.get("type") == "object" and "properties" in node:
            node.setdefault("additionalProperties", False)
        for child in node.values():
            close(child)
    elif isinstance(node, list):
        for child in node:
            close(child)


@schemathesis.hook
def before_load_schema(context: schemathesis.HookContext, raw_schema: dict[str, Any]) -> None:
    close(raw_schema["components"]["schemas"])
