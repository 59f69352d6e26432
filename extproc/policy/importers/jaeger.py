"""Jaeger's file of sampling strategies, which its collector hands to clients.

https://www.jaegertracing.io/docs/latest/architecture/sampling/#file-based-sampling-configuration
"""

import re
from collections.abc import Iterator

from extproc.policy.importers import wildcards
from extproc.policy.importers.imported import Imported, Mapping, Rule, imported, probability, rate_limited
from extproc.policy.importers.node import Node

_TYPES = ("probabilistic", "ratelimiting")
_UNNAMED = 0.001
"""The probability that Jaeger gives where a file has no default_strategy."""

_NOTES = (
    "Jaeger's services are those whose clients begin a trace; here a service is the upstream cluster of a request.",
    "Jaeger's operations are span names. Those that are a method and a path, or a gRPC method, became conditions.",
)
_PER_CLIENT = "Jaeger's limit is that of each client process; here it is that of the policy."
_OPERATION_LIMIT = "Jaeger knows no ratelimiting for an operation and samples it as its service."
_NO_REQUEST = "Its operation {!r} says nothing of a request: extproc decides before a span has its name."
_LIMIT_UNUSED = "Where operations are listed Jaeger's clients do not apply the limit of their service."
_OPERATION = re.compile(rf"(?:HTTP )?({'|'.join(wildcards.METHODS)})(?: (/\S*))?|(/\S*)")
_GRPC = re.compile(r"/?([\w.]+\.\w+/\w+)", re.ASCII)


def read(root: Node) -> Imported:
    """The strategies: of operations first, since they say more."""
    if not (isinstance(root.value, dict) and root.value.keys() & {"service_strategies", "default_strategy"}):
        root.fail(
            "a mapping with service_strategies or default_strategy",
            '{"default_strategy": {"type": "probabilistic", "param": 0.1}}',
        )
        return imported((), {}, ())
    services = list(root.get("service_strategies").items())
    default = root.get("default_strategy")
    names = [service.get("service").text() for service in services]
    rules = [rule for service, name in zip(services, names, strict=True) for rule in _operations(service, name)]
    rules += _operations(default, "")
    rules += [_service(service, name) for service, name in zip(services, names, strict=True)]
    if not default:
        note = "The file has no default_strategy; Jaeger's own is a thousandth."
        return imported(_NOTES, probability(_UNNAMED), rules, note)
    sampling, notes = _sampling(default)
    return imported(_NOTES, sampling, rules, *notes)


def _service(strategy: Node, name: str) -> Rule:
    sampling, notes = _sampling(strategy)
    match = wildcards.service(name)
    reason = "Its name cannot be that of a cluster." if match is None or not name else None
    return Rule(name or "a service without a name", match or {}, sampling, notes, reason)


def _operations(strategy: Node, service: str) -> Iterator[Rule]:
    for operation in strategy.get("operation_strategies").items():
        text = operation.get("operation").text()
        name = f"{service} {text}".strip()
        request = _request(text)
        match = wildcards.together(wildcards.service(service) if service else {}, request)
        if operation.get("type").choice(_TYPES) == "ratelimiting":
            yield Rule(name, {}, {}, left_out=_OPERATION_LIMIT)
        elif match is None:
            yield Rule(name, {}, {}, left_out=_NO_REQUEST.format(text))
        else:
            yield Rule(name, match, probability(operation.get("param").number(0, 1)))


def _request(operation: str) -> Mapping | None:
    """The requests whose spans have this name."""
    grpc = _GRPC.fullmatch(operation)
    if grpc:
        return {"path": f"/{grpc[1]}"}
    found = _OPERATION.fullmatch(operation)
    if found is None:
        return None
    path = found[2] or found[3]
    return {**({"method": found[1]} if found[1] else {}), **(wildcards.route(path) if path else {})}


def _sampling(strategy: Node) -> tuple[Mapping, tuple[str, ...]]:
    if strategy.get("type").choice(_TYPES) == "probabilistic":
        return probability(strategy.get("param").number(0, 1)), ()
    notes = [_PER_CLIENT]
    if strategy.get("operation_strategies"):
        notes.append(_LIMIT_UNUSED)
    return rate_limited(int(strategy.get("param").number(0, 2**31))), tuple(notes)
