"""What a Plan needs from Envoy's configuration: the tags to show, the attributes and metadata to send."""

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from extproc.policy.plan import Plan, Policy, Tag, TagSource, Transform

NAMESPACE = "extproc"
"""The dynamic metadata namespace of every answer."""

SPAN_NAME = "span_name"
"""The key in it that names the span."""

_REQUEST_ATTRIBUTES = ("xds.cluster_name", "source.address")
_RESPONSE_ATTRIBUTES = ("response.flags", "response.code_details", "upstream.address")

_FORMAT_SAFE = re.compile(r"[\w.-]+", re.ASCII)
"""Names that can stand in a `%DYNAMIC_METADATA(...)%` format, which only numbers need."""

_INTEGER_ATTRIBUTES = frozenset(
    {
        "connection.id",
        "destination.port",
        "request.size",
        "request.total_size",
        "response.code",
        "response.grpc_status",
        "response.size",
        "response.total_size",
        "source.port",
        "upstream.port",
        "upstream.request_attempt_count",
    }
)


class ValueType(StrEnum):
    """How Envoy writes a tag's value on its span."""

    STRING = "STRING"
    INT = "INT"
    DOUBLE = "DOUBLE"


@dataclass(frozen=True, slots=True)
class SpanTag:
    """One tag to show, under its own name, from the answer's key of the same name."""

    name: str
    value_type: ValueType = ValueType.STRING


_DECISION = (
    SpanTag("sampling.policy"),
    SpanTag("sampling.reason"),
    SpanTag("sampling.probability", ValueType.DOUBLE),
)

_DRY_RUN = (SpanTag("sampling.dry_run"), SpanTag("sampling.dry_run.sampled"))


def span_tags(plan: Plan) -> tuple[SpanTag, ...]:
    """Every tag of the file in its order, then those that say how the trace was decided.

    A name that stands for a number in one policy and for text in another is shown as text.
    """
    types = defaultdict(set)
    for tag in _tags(plan):
        types[tag.name].add(_value_type(tag))
    decision = {tag.name for tag in _DECISION}
    named = (
        SpanTag(name, next(iter(found)) if len(found) == 1 else ValueType.STRING)
        for name, found in types.items()
        if name not in decision
    )
    return (*named, *_DECISION, *(_DRY_RUN if any(policy.dry_run for policy in plan.policies) else ()))


def request_attributes(plan: Plan) -> tuple[str, ...]:
    """The attributes that Envoy has to send with request headers."""
    return _attributes(plan, _REQUEST_ATTRIBUTES, in_response=False)


def response_attributes(plan: Plan) -> tuple[str, ...]:
    """The attributes that Envoy has to send with response headers."""
    return _attributes(plan, _RESPONSE_ATTRIBUTES, in_response=True)


def reads_responses(plan: Plan) -> bool:
    """Whether some tag, or a boost, waits for response headers."""
    return any(tag.in_response for tag in _tags(plan)) or any(policy.boost is not None for policy in plan.policies)


def metadata_namespaces(plan: Plan) -> tuple[str, ...]:
    """The namespaces of other filters' dynamic metadata that some tag reads."""
    return tuple(dict.fromkeys(tag.key for tag in _tags(plan) if tag.source is TagSource.METADATA))


def names_spans(plan: Plan) -> bool:
    """Whether some policy names the span."""
    return any(policy.span_name is not None for policy in _policies(plan))


def ignores_parent(plan: Plan) -> tuple[str, ...]:
    """The names of the policies that decide against a parent, in the file's order."""
    return tuple(policy.name for policy in _policies(plan) if not policy.sampler.respect_parent)


def _policies(plan: Plan) -> tuple[Policy, ...]:
    """The default comes first: its tags are those for every request, which stand first in the file."""
    return (plan.default, *plan.policies)


def _tags(plan: Plan) -> Iterator[Tag]:
    return (tag for policy in _policies(plan) for tag in policy.tags)


def _attributes(plan: Plan, always: tuple[str, ...], *, in_response: bool) -> tuple[str, ...]:
    tags = (tag for tag in _tags(plan) if tag.source is TagSource.ATTRIBUTE and tag.in_response is in_response)
    return tuple(dict.fromkeys((*always, *(tag.key for tag in tags))))


def _value_type(tag: Tag) -> ValueType:
    if tag.transform is not Transform.NONE or not _FORMAT_SAFE.fullmatch(tag.name):
        return ValueType.STRING
    if tag.source is TagSource.ATTRIBUTE and tag.key in _INTEGER_ATTRIBUTES:
        return ValueType.INT
    if tag.source is TagSource.CONSTANT and isinstance(tag.default, int | float):
        return ValueType.INT if float(tag.default).is_integer() else ValueType.DOUBLE
    return ValueType.STRING
