"""The same with 1 to 10,000 policies that look at paths, services or headers: a decision must not get dearer."""

import json
from collections.abc import Callable
from functools import cache
from typing import Any

from bench.micro.pieces import HEADERS, Call, decision
from extproc.engine import wire
from extproc.engine.decide import Verdict
from extproc.engine.exchange import Engine
from extproc.policy.load import load_text

COUNTS = (1, 10, 100, 1_000, 10_000)
_MATCHES: dict[str, Callable[[int], dict[str, Any]]] = {
    "path": lambda number: {"path": f"/api/service-{number}/{{id}}"},
    "service": lambda number: {"service": f"service-{number}"},
    "header": lambda number: {"headers": {"x-tenant": f"tenant-{number}"}},
}
KINDS = tuple(_MATCHES)


def loading(kind: str, count: int) -> Call:
    """From a file's bytes to an engine that serves."""
    text = _text(kind, count)
    return lambda: Engine(load_text(text, "policy", {}))


def deciding(kind: str, count: int) -> Call:
    """From a request's headers to the verdict of the policy in the middle of the file.

    Raises:
        RuntimeError: another policy decides.
    """
    wanted = count // 2
    headers = {":path": f"/api/service-{wanted}/42", "x-tenant": f"tenant-{wanted}", **HEADERS}
    call = decision(_engine(kind, count), headers, f"service-{wanted}")
    verdict = call()
    if (
        not isinstance(verdict, Verdict)
        or wire.tag_encoder("sampling.policy")(f"policy-{wanted}") not in verdict.entries
    ):
        raise RuntimeError(f"policy-{wanted} was to decide")
    return call


@cache
def _engine(kind: str, count: int) -> Engine:
    return Engine(load_text(_text(kind, count), "policy", {}))


@cache
def _text(kind: str, count: int) -> bytes:
    match = _MATCHES[kind]
    policies = [{"name": f"policy-{n}", "match": match(n), "sampling": {"ratio": 0.1}} for n in range(count)]
    return json.dumps({"tracing": {"sampling": {"ratio": 0.1}, "policies": policies}}).encode()
