"""AWS X-Ray's sampling rules: those of its service, as its API and command line give them, and an SDK's local ones.

https://docs.aws.amazon.com/xray/latest/devguide/xray-console-sampling.html
https://docs.aws.amazon.com/xray/latest/api/API_SamplingRule.html
"""

from collections.abc import Iterator

from extproc.policy.importers import wildcards
from extproc.policy.importers.imported import Imported, Mapping, Rule, imported, reservoir
from extproc.policy.importers.node import Node
from extproc.policy.problems import shown

_MOST = 2.0**31
_LAST = 10_000
"""The priority of X-Ray's Default rule, one more than the highest that others can have."""

_NOTES = (
    "X-Ray compares without regard to case; here only methods and hosts are compared so.",
    "X-Ray's service is the one that records the segment; here it is the upstream cluster of a request.",
    "X-Ray shares a reservoir among all processes that use the rule; here it is that of one extproc (see `share`).",
)
_DEFAULT = "There is no rule named Default; X-Ray's own is a trace a second and a twentieth of the others."
_LOCAL_NOTES = ("X-Ray's SDKs compare without regard to case; here only methods and hosts are compared so.",)
_BOOST = (
    "SamplingRateBoost is set off by what X-Ray finds; `boost` here is set off by statuses, which have to be named."
)
_ELSEWHERE = {
    "ServiceType": "where a service runs",
    "ResourceARN": "on which resource a service runs",
}


def read(root: Node) -> Imported:
    """The rules, by priority."""
    if isinstance(root.value, dict) and "rules" in root.value:
        return _local(root)
    rules = sorted(_central(root), key=lambda rule: (_priority(rule), rule.get("RuleName").text()))
    named = [rule for rule in rules if rule.get("RuleName").text() != "Default"]
    default = next((rule for rule in rules if rule.get("RuleName").text() == "Default"), None)
    policies = [_policy(rule) for rule in named]
    if default is None:
        return imported(_NOTES, reservoir(1, 0.05), policies, _DEFAULT)
    return imported(_NOTES, _sampling(default, "ReservoirSize", "FixedRate"), policies)


def _central(root: Node) -> Iterator[Node]:
    """The rules in any of the shapes that come out of X-Ray."""
    records = root if isinstance(root.value, list) else root.get("SamplingRuleRecords")
    for record in records.items() if records else [root]:
        yield record.get("SamplingRule") if "SamplingRule" in record.mapping() else record


def _priority(rule: Node) -> float:
    return rule.get("Priority").number(1, _LAST, default=_LAST)


def _policy(rule: Node) -> Rule:
    name = rule.get("RuleName").text("a rule without a name")
    notes = (_BOOST,) if rule.get("SamplingRateBoost") else ()
    sampling = _sampling(rule, "ReservoirSize", "FixedRate")
    match = _match(rule, "ServiceName", "Host", "HTTPMethod", "URLPath")
    reason = "Its conditions cannot be said of a request." if match is None else _elsewhere(rule)
    return Rule(name, match or {}, sampling, notes, reason)


def _elsewhere(rule: Node) -> str | None:
    """What a rule asks that no request shows."""
    for key, meaning in _ELSEWHERE.items():
        value = rule.get(key).text("*")
        if value != "*":
            return f"{key} {shown(value)} asks {meaning}, which no request shows."
    if rule.get("Attributes").keys():
        return "Attributes asks for attributes of the segment, which an SDK sets."
    return None


def _local(root: Node) -> Imported:
    host = "service_name" if root.get("version").number(1, 2, default=2) == 1 else "host"
    rules = []
    for index, rule in enumerate(root.get("rules").items()):
        match = _match(rule, "", host, "http_method", "url_path")
        name = rule.get("description").text(f"rule {index + 1}").rstrip(".")
        reason = "Its method is none of HTTP's." if match is None else None
        rules.append(Rule(name, match or {}, _sampling(rule, "fixed_target", "rate"), left_out=reason))
    return imported(_LOCAL_NOTES, _sampling(root.get("default"), "fixed_target", "rate"), rules)


def _match(rule: Node, service: str, host: str, method: str, path: str) -> Mapping | None:
    return wildcards.together(
        wildcards.service(rule.get(service).text("*")) if service else {},
        wildcards.host(rule.get(host).text("*")),
        wildcards.method(rule.get(method).text("*")),
        wildcards.path(rule.get(path).text("*")),
    )


def _sampling(rule: Node, size: str, rate: str) -> Mapping:
    return reservoir(rule.get(size).number(0, _MOST, default=0), rule.get(rate).number(0, 1))
