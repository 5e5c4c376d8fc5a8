"""A store's own names of the envelope's fields, by their default names."""

from collections.abc import Mapping
from typing import Any

FIELDS = (
    "event_id",
    "stream_type",
    "stream_id",
    "seq",
    "event_type",
    "event_version",
    "occurred_at",
    "ingested_at",
    "data",
    "metadata",
    "command_id",
    "correlation_id",
    "causation_id",
    "tenant_id",
)

Names = Mapping[str, str]


def names_of(config: Mapping[str, Any]) -> Names:
    """From the effective keys of a statement (`envelope.*_key`)."""
    keys = {field: f"envelope.{'payload' if field == 'data' else field}_key" for field in FIELDS}
    return {field: str(config.get(key) or field) for field, key in keys.items()}
