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


def follows(path: str) -> bool:
    """Whether a route is followed for as long as its client stays."""
    return path.endswith("/subscribe") or path.endswith("/subscriptions/{name}/events")


@schemathesis.hook
def before_call(context: schemathesis.HookContext, case: schemathesis.Case, kwargs: dict[str, Any]) -> None:
    """An answer without an end is asked for with one: nothing would be learned from waiting for more."""
    if not follows(case.operation.path):
        return
    query = dict(case.query or {})
    idle = query.get("idle_s", 0)
    # one that is wrong is left as it is: it is refused
    if str(idle).isdecimal() and int(str(idle)) <= 3600:
        case.query = {**query, "idle_s": 0}
