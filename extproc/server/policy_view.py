"""What GET /policy shows: the Plan at work, what each policy has decided, and how reloading went."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

from extproc.policy.plan import Match, Operator, Policy, StringMatch
from extproc.server.effective import Rate
from extproc.server.reload import PolicyFile
from extproc.telemetry.instruments import BOOSTS, DECISIONS, DRY_RUNS, POLICY_RELOADS
from extproc.telemetry.store import Snapshot


def policy_view(file: PolicyFile, snapshot: Snapshot, rates: Mapping[str, Rate]) -> dict[str, Any]:
    """Build the JSON document. `rates` are what policies have kept lately.

    Tags are left out, and of compared headers and query parameters all but the names: their values may be secrets.
    """
    plan, error = file.plan, file.last_error
    counters = _counters(snapshot)
    return {
        "file": str(file.path),
        "digest": plan.digest,
        "loaded_at": file.loaded_at,
        "enabled": plan.enabled,
        "default": _policy(plan.default, counters, rates),
        "policies": [_policy(policy, counters, rates) for policy in plan.policies],
        "reloads": _reloads(snapshot),
        "last_error": None if error is None else {"at": error.at, "problems": list(error.problems)},
    }


@dataclass(slots=True)
class _Counters:
    requests: int = 0
    sampled: int = 0
    by_reason: dict[str, int] = field(default_factory=dict)
    dry_run: dict[str, int] = field(default_factory=dict)
    boosts: int = 0


def _counters(snapshot: Snapshot) -> dict[object, _Counters]:
    counters: dict[object, _Counters] = defaultdict(_Counters)
    for attributes, count in snapshot.numbers[DECISIONS.name].items():
        values = dict(attributes)
        counter = counters[values.get("policy")]
        reason = str(values.get("reason"))
        counter.requests += count
        counter.sampled += count if values.get("sampled") else 0
        counter.by_reason[reason] = counter.by_reason.get(reason, 0) + count
    for attributes, count in snapshot.numbers[DRY_RUNS.name].items():
        values = dict(attributes)
        counters[values.get("policy")].dry_run["sampled" if values.get("sampled") else "not_sampled"] = count
    for attributes, count in snapshot.numbers[BOOSTS.name].items():
        counters[dict(attributes).get("policy")].boosts = count
    return counters


def _reloads(snapshot: Snapshot) -> dict[str, int]:
    counts = {
        str(dict(attributes)["result"]): count for attributes, count in snapshot.numbers[POLICY_RELOADS.name].items()
    }
    return {result: counts.get(result, 0) for result in ("ok", "error")}


def _policy(policy: Policy, counters: dict[object, _Counters], rates: Mapping[str, Rate]) -> dict[str, Any]:
    counter, rate = counters.get(policy.name, _Counters()), rates.get(policy.name)
    view: dict[str, Any] = {
        "index": policy.index,
        "name": policy.name,
        "match": _match(policy.match),
        "not": _match(policy.exclude),
        "sampling": policy.sampler.settings(),
        "effective": None if rate is None else asdict(rate),
        "counters": {"requests": counter.requests, "sampled": counter.sampled, "by_reason": counter.by_reason},
    }
    if policy.boost is not None:
        boost = policy.boost
        view["boost"] = {
            "when": {
                "status": f"{boost.statuses[0]}-{boost.statuses[1]}",
                "above": f"{boost.above * 100:g}%",
                "window": f"{boost.window_seconds:g}s",
            },
            "ratio": boost.ratio,
            "for": f"{boost.seconds:g}s",
            "cooldown": f"{boost.cooldown_seconds:g}s",
            "begun": counter.boosts,
        }
    if policy.until is not None:
        view["until"] = datetime.fromtimestamp(policy.until, UTC).isoformat()
    if policy.dry_run:
        view["dry_run"] = {"sampled": 0, "not_sampled": 0} | counter.dry_run
    return view


def _match(match: Match) -> dict[str, Any]:
    fields = {
        "path": match.path.template if match.path else None,
        "service": _text(match.service),
        "method": sorted(match.methods),
        "host": _text(match.host),
        "headers": [name for name, _ in match.headers],
        "query": [name for name, _ in match.query],
    }
    return {name: value for name, value in fields.items() if value}


def _text(match: StringMatch | None) -> str | None:
    if match is None:
        return None
    if match.operator in {Operator.EXACT, Operator.GLOB}:
        return match.operand
    return f"{match.operator.value}: {match.operand}".removesuffix(": ")
