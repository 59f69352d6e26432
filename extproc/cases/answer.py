"""What the engine says to the request of a test."""

import math
from dataclasses import dataclass
from typing import Final

from extproc.cases.document import Request
from extproc.engine import wire
from extproc.engine.exchange import Engine
from extproc.engine.outcome import Reason
from extproc.engine.scan import TagValue
from extproc.policy.fields import RESERVED_TAGS
from extproc.policy.plan import Plan, SamplerKind
from extproc.replay.fields import PATH
from extproc.replay.headers import request_headers

_SERVICE: Final = "xds.cluster_name"
_SPAN_NAME: Final = "span_name"
_WITHOUT_MEMORY: Final = frozenset({SamplerKind.ALWAYS_ON, SamplerKind.ALWAYS_OFF, SamplerKind.PROBABILISTIC})


@dataclass(frozen=True, slots=True)
class Answer:
    """What becomes of a request. `tags` are those that the request settles."""

    policy: str
    reason: Reason | None
    sampled: bool
    span_name: TagValue | None
    tags: dict[str, TagValue]


class Asked:
    """A Plan that answers requests, each as if it were the first."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._forgets = {policy.sampler.kind for policy in (*plan.policies, plan.default)} <= _WITHOUT_MEMORY
        self._engines: dict[float, Engine] = {}

    def answer(self, request: Request, trace_id: str) -> Answer:
        """What becomes of a request for which Envoy has begun this trace."""
        attributes: dict[str, TagValue] = {**request.attributes, _SERVICE: request.service}
        exchange = self._engine(time_of(request)).begin(f"00-{trace_id}-0000000000000001-00")
        reply = exchange.receive(wire.request_headers_message(headers_of(request).items(), attributes), 0.0)
        outcome = exchange.finish(0.0)
        if outcome is None or exchange.errors:
            raise RuntimeError("the engine failed on this request") from exchange.failure
        metadata, _ = wire.describe(reply)
        return Answer(
            policy=outcome.policy,
            reason=outcome.reason,
            sampled=outcome.sampled,
            span_name=metadata.get(_SPAN_NAME),
            tags={name: value for name, value in metadata.items() if name not in RESERVED_TAGS},
        )

    def _engine(self, unix_seconds: float) -> Engine:
        engine = self._engines.get(unix_seconds) or Engine(self.plan, unix_seconds=unix_seconds)
        if self._forgets:
            self._engines[unix_seconds] = engine
        return engine


def time_of(request: Request) -> float:
    """When the request comes, in Unix seconds."""
    return -math.inf if request.time is None else request.time


def headers_of(request: Request) -> dict[str, str]:
    """The request's headers, pseudo headers among them."""
    headers = request_headers(request.method, request.url or "/", request.headers.items())
    return headers if request.path is None else headers | {PATH: request.path}
