"""Outcomes for tests of what is recorded."""

from typing import Any

from extproc.engine.outcome import Outcome, Reason

_ANSWERED = Outcome(
    method="GET",
    path="/api/orders/{id}",
    service="order-service",
    scheme="http",
    status_code=200,
    policy="orders",
    reason=Reason.POLICY,
    sampled=True,
    duration_seconds=0.25,
    upstream_seconds=0.125,
    downstream_seconds=0.0625,
    upstream_port=8080,
    error_type=None,
)


def answered(**changes: Any) -> Outcome:  # noqa: ANN401  any field of Outcome
    """Return an answered request's Outcome with some fields changed."""
    return _ANSWERED._replace(**changes)


def unanswered(**changes: Any) -> Outcome:  # noqa: ANN401  any field of Outcome
    """Return the Outcome of a request that never got response headers."""
    absent: dict[str, Any] = {
        "status_code": 0,
        "upstream_seconds": None,
        "downstream_seconds": None,
        "upstream_port": 0,
        "error_type": "stream_reset",
    }
    return _ANSWERED._replace(**(absent | changes))
