"""The sampler of OpenTelemetry's declarative configuration, rule-based ones among them.

https://github.com/open-telemetry/opentelemetry-configuration
"""

from collections.abc import Iterator, Sequence
from itertools import product

from extproc.policy.importers import wildcards
from extproc.policy.importers.imported import Imported, Mapping, Rule, imported, probability
from extproc.policy.importers.node import Node
from extproc.policy.problems import shown

_NOTES = ("Rules are about a span's attributes when it begins; here they are about the request that arrives at Envoy.",)
_IGNORES = "The sampler is not parent-based: callers' decisions are not followed (`parent: ignore`)."
_NO_SAMPLER = "The file has no sampler; an SDK's own keeps each trace that begins there, and follows callers."
_REMOTE_PARENTS = "{} is not what it is by default; here a caller's decision is followed, both ways."
_REMOTE = "Its rules come from a Jaeger collector; `extproc import jaeger` reads the file that it has them from."
_NO_RULE = "What no rule matches is not sampled."
_UNKNOWN = "The sampler {} is not known here."

_COMPOSITE = "composite/development"
_JAEGER = "jaeger_remote/development"
_RATIOS = ("probability", "probability/development", "trace_id_ratio_based")
_HEADERS = {"user_agent.original": "user-agent", "http.user_agent": "user-agent", "url.scheme": ":scheme"}
_HEADER_PREFIX = "http.request.header."
_FIELDS = {
    "http.route": "path",
    "url.path": "path",
    "http.target": "path",
    "http.request.method": "method",
    "http.method": "method",
    "server.address": "host",
    "net.host.name": "host",
    "http.host": "host",
}


class _NoEqual(Exception):  # noqa: N818  no error: it is written down
    """What a rule asks that a policy cannot."""


def read(root: Node) -> Imported:
    """The sampler of the tracer provider."""
    if not isinstance(root.value, dict) or "tracer_provider" not in root.value:
        root.fail("a mapping with tracer_provider", "tracer_provider: {sampler: {always_on: {}}}")
        return imported((), {}, ())
    sampler = root.get("tracer_provider").get("sampler")
    if not sampler.keys():
        return imported(_NOTES, probability(1), (), _NO_SAMPLER)
    notes: list[str] = []
    follows = False
    while (kind := _kind(sampler)) in {"parent_based", "parent_threshold", _JAEGER, _COMPOSITE}:
        found = sampler.get(kind)
        if kind == _JAEGER:
            notes.append(_REMOTE)
        elif kind == "parent_based":
            notes += _parents(found)
        follows = follows or kind.startswith("parent")
        sampler = found if kind == _COMPOSITE else found.get("initial_sampler" if kind == _JAEGER else "root")
    parent: Mapping = {} if follows else {"parent": "ignore"}
    notes += [] if follows else [_IGNORES]
    if kind == "rule_based":
        rules = [each for rule in sampler.get(kind).get("rules").items() for each in _rules(rule, parent)]
        return imported((*_NOTES, *notes), probability(0) | parent, rules, _NO_RULE)
    try:
        return imported((*_NOTES, *notes), _sampling(sampler, parent), ())
    except _NoEqual as reason:
        return imported((*_NOTES, *notes), probability(1), (), str(reason))


def _kind(sampler: Node) -> str:
    """The one key of a sampler; one without any keeps everything."""
    keys = list(sampler.mapping())
    if len(keys) > 1:
        sampler.fail("one sampler", "parent_based: {root: {always_on: {}}}")
    return keys[0] if keys else "always_on"


def _parents(sampler: Node) -> Iterator[str]:
    for key, usual in (("remote_parent_sampled", "always_on"), ("remote_parent_not_sampled", "always_off")):
        if sampler.get(key).keys() not in ([], [usual]) and _kind(sampler.get(key)) != usual:
            yield _REMOTE_PARENTS.format(key)


def _sampling(sampler: Node, parent: Mapping) -> Mapping:
    kind = _kind(sampler)
    if kind == "parent_threshold":
        return _sampling(sampler.get(kind).get("root"), {})
    if kind in _RATIOS:
        return probability(sampler.get(kind).get("ratio").number(0, 1, default=1)) | parent
    if kind in {"always_on", "always_off"}:
        return probability(kind == "always_on") | parent
    raise _NoEqual(_UNKNOWN.format(shown(kind)))


def _rules(rule: Node, parent: Mapping) -> Iterator[Rule]:
    """A policy for each way in which the rule can match."""
    name = f"rule {int(rule.path[-1]) + 1}"
    try:
        sampling = _sampling(rule.get("sampler"), parent)
        ways = [_together(*way) for way in product(_values(rule), _patterns(rule), [_origin(rule)])]
    except _NoEqual as reason:
        yield Rule(name, {}, {}, left_out=str(reason))
        return
    for number, way in enumerate(ways, start=1):
        yield Rule(name if len(ways) == 1 else f"{name}, {number} of {len(ways)}", way, sampling)


def _together(*conditions: Mapping) -> Mapping:
    found = wildcards.together(*conditions)
    if found is None:
        raise _NoEqual("Two of its conditions are about one and the same.")
    return found


def _origin(rule: Node) -> Mapping:
    """What it asks of the span's kind and its parent."""
    kinds = [kind.text() for kind in rule.get("span_kinds").items()]
    if kinds and "server" not in kinds:
        raise _NoEqual(f"It is for spans of kind {', '.join(kinds)}; a request that arrives is a server's.")
    parents = {parent.text() for parent in rule.get("parent").items()}
    if not parents or {"none", "remote"} <= parents:
        return {}
    if parents == {"local"}:
        raise _NoEqual("It is for spans with a local parent; a request that arrives has none.")
    return {"headers": {"traceparent": {"present": "remote" in parents}}}


def _values(rule: Node) -> Sequence[Mapping]:
    values = rule.get("attribute_values")
    if not values:
        return [{}]
    key = values.get("key").text()
    return _any_of(key, [value.text() for value in values.get("values").items()], literal=True)


def _patterns(rule: Node) -> Sequence[Mapping]:
    patterns = rule.get("attribute_patterns")
    if not patterns:
        return [{}]
    key = patterns.get("key").text()
    included = [pattern.text() for pattern in patterns.get("included").items()]
    excluded = [pattern.text() for pattern in patterns.get("excluded").items()]
    ways = _any_of(key, included or ["*"], literal=False)
    return [way | {"not": _none_of(key, excluded)} for way in ways] if excluded else ways


def _any_of(key: str, options: Sequence[str], *, literal: bool) -> Sequence[Mapping]:
    """A condition for each option, or one for all where that is possible."""
    field, name = _field(key)
    if field == "method":
        return [{} if "*" in options else _known(wildcards.any_method(options))]
    if field == "path":
        return [wildcards.route(option) if literal else wildcards.path(option) for option in options]
    if field == "host":
        return [wildcards.host(option) for option in options]
    return [wildcards.text(name, option) if literal else wildcards.header(name, option) for option in options]


def _none_of(key: str, options: Sequence[str]) -> Mapping:
    field, name = _field(key)
    if field == "method":
        return _known(wildcards.any_method(options))
    if field == "path":
        return wildcards.any_path(options)
    if field == "host":
        return wildcards.host(options[0]) if len(options) == 1 else wildcards.any_host(options)
    return wildcards.any_header(name, options)


def _field(key: str) -> tuple[str, str]:
    """What of a request an attribute is about, and the name of the header."""
    if key in _FIELDS:
        return _FIELDS[key], ""
    if key in _HEADERS:
        return "header", _HEADERS[key]
    if key.startswith(_HEADER_PREFIX):
        return "header", key.removeprefix(_HEADER_PREFIX)
    raise _NoEqual(f"The attribute {shown(key)} is not one of a request that Envoy has when it arrives.")


def _known(match: Mapping | None) -> Mapping:
    if match is None:
        raise _NoEqual("Its methods are none of HTTP's.")
    return match
