"""A run of the demo in which everything went as it should, made up without any process."""

import random
from collections import Counter

import pytest

from extproc.demo.evidence import Buckets, Evidence, Seen, Sent, SpanSeen
from extproc.demo.requests import Request, draw_request

RATIOS = {"debug": 1.0, "health": 0.0, "checkout": 1.0, "orders": 0.15, "users": 0.2, "default": 0.1}


@pytest.fixture
def evidence() -> Evidence:
    """What a truthful run would have seen: 600 requests, always the same ones."""
    rng = random.Random(7)  # noqa: S311  the same every time is what is wanted
    requests = [draw_request(rng) for _ in range(600)]
    seen = [_seen(str(number), request, rng) for number, request in enumerate(requests)]
    kept = [(request, arrived) for request, arrived in zip(requests, seen, strict=True) if arrived.sampled]
    return Evidence(
        ratios=RATIOS,
        sent=tuple(
            Sent(arrived.demo_id, request.policy, request.tags, request.parent, arrived.status, served=True)
            for request, arrived in zip(requests, seen, strict=True)
        ),
        seen=tuple(seen),
        spans=tuple(
            SpanSeen(arrived.trace_id, "ingress", server=True, tags=_tags(request), seconds=0.02)
            for request, arrived in kept
        ),
        requests_counted=len(requests),
        decisions_counted=Counter(
            (request.policy, _reason(request), arrived.sampled) for request, arrived in zip(requests, seen, strict=True)
        ),
        upstream={"user-service": Buckets((0.01, 0.1), (5, 4, 1))},
        downstream={"user-service": Buckets((0.01, 0.1), (4, 5, 1))},
    )


def _seen(demo_id: str, request: Request, rng: random.Random) -> Seen:
    trace_id = f"{rng.getrandbits(128):032x}"
    sampled = int(trace_id, 16) % 2**56 >= 2**56 * (1 - RATIOS[request.policy])
    if request.parent is not None:
        trace_id, sampled = request.parent.trace_id, request.parent.sampled
    return Seen(demo_id, "user-service", trace_id, sampled, 200)


def _tags(request: Request) -> dict[str, str | bool | int | float]:
    named = {} if request.policy == "default" else {"sampling.policy": request.policy}
    return {**request.tags, **named, "sampling.reason": _reason(request)}


def _reason(request: Request) -> str:
    if request.parent is not None:
        return "parent"
    return "default" if request.policy == "default" else "policy"
