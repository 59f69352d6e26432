"""Envoy's typed configuration as plain data, the way Envoy's own documentation writes it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from betterproto2 import Casing, Message

from extproc.wiring.bootstrap import tracing_part, whole
from extproc.wiring.clusters import own_clusters
from extproc.wiring.filter import http_filter
from extproc.wiring.needs import ValueType, span_tags
from extproc.wiring.settings import Settings

_TYPE = "@type"
_URL = "type.googleapis.com/envoy."
_EXTERNAL_PROCESSOR = f"{_URL}extensions.filters.http.ext_proc.v3.ExternalProcessor"

_FIRST = (
    # Whole configuration.
    "admin",
    "overload_manager",
    # Everything that has one of these.
    "name",
    _TYPE,
    "stat_prefix",
    # HTTP connection manager: in the order in which a request meets them.
    "use_remote_address",
    "normalize_path",
    "merge_slashes",
    "path_with_escaped_slashes_action",
    "early_header_mutation_extensions",
    "request_id_extension",
    "tracing",
    "access_log",
    "stream_idle_timeout",
    "http_filters",
    "route_config",
)
_RANK = {key: rank for rank, key in enumerate(_FIRST)}


class Part(StrEnum):
    """What can be printed by itself."""

    BOOTSTRAP = "bootstrap"
    HTTP_FILTER = "http-filter"
    CLUSTER = "cluster"
    TRACING = "tracing"


def build(part: Part, settings: Settings) -> Any:  # noqa: ANN401  JSON data
    """The configuration as JSON data: a mapping, or a list of what belongs in a list of Envoy's."""
    return _PARTS[part](settings)


def _bootstrap(settings: Settings) -> dict[str, Any]:
    return _plain(whole(settings), settings)


def _filters(settings: Settings) -> list[dict[str, Any]]:
    return [_plain(http_filter(settings), settings)]


def _clusters(settings: Settings) -> list[dict[str, Any]]:
    return [_plain(message, settings) for message in own_clusters(settings)]


def _tracing(settings: Settings) -> dict[str, Any]:
    return _plain(tracing_part(settings), settings)


_PARTS: Mapping[Part, Callable[[Settings], Any]] = {
    Part.BOOTSTRAP: _bootstrap,
    Part.HTTP_FILTER: _filters,
    Part.CLUSTER: _clusters,
    Part.TRACING: _tracing,
}


@dataclass(frozen=True, slots=True)
class _Newer:
    """What Envoy 1.40 knows and the types do not: the types of tags, and that calls of the filter make no span."""

    value_types: Mapping[str, ValueType]
    no_client_span: bool


def _plain(message: Message, settings: Settings) -> dict[str, Any]:
    data = message.to_dict(casing=Casing.SNAKE)
    types = {tag.name: tag.value_type for tag in span_tags(settings.plan)}
    tidied = _tidied(data, _Newer(types, no_client_span=not settings.emits))
    assert isinstance(tidied, dict)  # noqa: S101  a message is a mapping
    return tidied


def _tidied(data: object, newer: _Newer) -> object:
    """The same data in reading order, with what the types do not know of and zeros that matter spelled out."""
    if isinstance(data, list):
        return [_tidied(item, newer) for item in data]
    if not isinstance(data, dict):
        return data
    spelled = _spelled_out(data, newer)
    keys = sorted(spelled, key=lambda key: _RANK.get(key, len(_RANK)))
    return {key: _tidied(spelled[key], newer) for key in keys}


def _spelled_out(data: dict[str, Any], newer: _Newer) -> dict[str, Any]:
    added = dict(data)
    for key in ("random_sampling", "healthy_panic_threshold"):
        if data.get(key) == {}:
            added[key] = {"value": 0}
    if data.get(_TYPE) == _EXTERNAL_PROCESSOR:
        added.setdefault("failure_mode_allow", False)
        if newer.no_client_span:
            added["emit_client_span"] = False
    if "tag" in data and "value" in data:
        added["value_type"] = newer.value_types[data["tag"]].value
    if (limit := data.get("max_active_downstream_connections")) is not None:
        added["max_active_downstream_connections"] = int(limit)  # an int64, which JSON has as text
    return added
