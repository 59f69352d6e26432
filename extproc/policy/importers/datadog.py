"""Datadog's DD_TRACE_SAMPLING_RULES: a JSON list of rules, of which the first that matches the root span decides.

https://docs.datadoghq.com/tracing/trace_pipeline/ingestion_mechanisms/
"""

from collections.abc import Iterator

from extproc.policy.importers import wildcards
from extproc.policy.importers.imported import Imported, Mapping, Rule, imported, probability, rate_limited
from extproc.policy.importers.node import Node
from extproc.policy.problems import shown

_AGENTS_TARGET = 10
_NOTES = (
    "Datadog compares without regard to case; here only methods and hosts are compared so.",
    "Datadog's service is the one whose tracer begins a trace; here it is the upstream cluster of a request.",
    "Tracers also keep at most DD_TRACE_RATE_LIMIT traces a second, of all rules together; policies share no limit.",
)
_DEFAULT = (
    "What no rule matches is left to Datadog's Agent, which aims at ten traces a second; where DD_TRACE_SAMPLE_RATE is "
    "set it has that ratio instead."
)
_HEADER_TAG = "http.request.headers."
_SPANS_ONLY = "max_per_second belongs to rules for single spans (DD_SPAN_SAMPLING_RULES) and limits no trace."
_ANY = "target_span asks for any span of a trace; here the request that arrives decides, as its root span would."


def read(root: Node) -> Imported:
    """The rules, in order."""
    if not isinstance(root.value, list):
        root.fail("a list of rules", '[{"service": "shop", "sample_rate": 0.1}]')
        return imported((), {}, ())
    rules = [_rule(rule, index) for index, rule in enumerate(root.items())]
    return imported(_NOTES, rate_limited(_AGENTS_TARGET), rules, _DEFAULT)


def _rule(rule: Node, index: int) -> Rule:
    service, resource = rule.get("service").text("*"), rule.get("resource").text("*")
    name = " ".join(part for part in (service, resource) if part != "*") or f"rule {index + 1}"
    sampling = probability(rule.get("sample_rate").number(0, 1, default=1))
    notes = tuple(_notes(rule))
    conditions = [wildcards.service(service), _request(resource)]
    reason = None if None not in conditions else "Its service or resource is none that can be compared with a request."
    if rule.get("name").text("*") != "*":
        reason = f"The name {shown(rule.get('name').text())} is a span's operation, which no request shows."
    for key, value in _tags(rule.get("tags")):
        condition = _tag(key, value)
        if condition is None:
            reason = f"The tag {shown(key)} is not one of a request."
        conditions.append(condition)
    match = wildcards.together(*conditions)
    if match is None and reason is None:
        reason = "Two of its conditions are about one and the same."
    return Rule(name, match or {}, sampling, notes, reason)


def _notes(rule: Node) -> Iterator[str]:
    if rule.get("max_per_second"):
        yield _SPANS_ONLY
    if rule.get("target_span").text("root") != "root":
        yield _ANY


def _request(resource: str) -> Mapping | None:
    """The requests whose resource, which is the method and the route, fits the pattern."""
    if resource == "*":
        return {}
    method, space, path = resource.partition(" ")
    if space and "/" not in method:
        return wildcards.together(wildcards.method(method), _path(path))
    if resource.startswith(("/", "*")):
        return wildcards.path(resource) if resource.startswith("*") else _path(resource)
    return wildcards.method(resource)


def _path(pattern: str) -> Mapping | None:
    if not pattern.startswith(("/", "*")):
        return None
    return wildcards.path(pattern) if "*" in pattern or "?" in pattern else wildcards.route(pattern)


def _tags(tags: Node) -> Iterator[tuple[str, str]]:
    if isinstance(tags.value, list):
        for item in tags.items():
            yield item.get("key").text(), item.get("value_glob").text("*")
    else:
        for key in tags.keys():  # noqa: SIM118  a Node is no dict
            yield key, tags.get(key).text()


def _tag(key: str, pattern: str) -> Mapping | None:
    if key == "http.method":
        return wildcards.method(pattern)
    if key == "http.useragent":
        return wildcards.header("user-agent", pattern)
    if key.startswith(_HEADER_TAG):
        return wildcards.header(key.removeprefix(_HEADER_TAG), pattern)
    return None
