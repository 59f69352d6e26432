"""A Plan at work on requests that are over: the engine itself decides on each of them again."""

import math
from functools import cache
from typing import Final, NamedTuple

from extproc.engine import wire
from extproc.engine.decide import Trial
from extproc.engine.exchange import Engine
from extproc.engine.outcome import Outcome
from extproc.engine.scan import TagValue
from extproc.engine.states import States
from extproc.policy.plan import Plan
from extproc.replay.entry import Entry

_SERVICE: Final = "xds.cluster_name"


class Replayed(NamedTuple):
    """What becomes of a request, and what a dry run would have made of it."""

    outcome: Outcome
    trial: Trial | None


class Replay:
    """Decides on requests in the order of their log, as one server of one worker would.

    The time stamps of the log are the clock: samplers that count per second and policies that end go by them.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._states = States()
        self._watches = any(policy.boost is not None for policy in plan.policies)
        self._now = 0.0
        self._start_engine()

    def decide(self, entry: Entry) -> Replayed:
        """What becomes of the request."""
        self._now = max(self._now, entry.unix_seconds or 0.0)
        if self._now >= self._next_end:
            self._start_engine()
        headers = {name: value for name, value in entry.headers.items() if name in self._wanted}
        attributes: dict[str, TagValue] = {_SERVICE: entry.service} if entry.service else {}
        exchange = self._engine.begin(f"00-{entry.trace_id}-0000000000000001-00")
        exchange.receive(wire.request_headers_message(headers.items(), attributes), self._now)
        if self._watches and entry.status:
            exchange.receive(_response(entry.status), self._now)
        outcome = exchange.finish(self._now)
        if outcome is None or exchange.errors:
            raise RuntimeError(f"the engine failed on {entry.file}:{entry.line}") from exchange.failure
        return Replayed(outcome, exchange.trial)

    def _start_engine(self) -> None:
        """As of now: without the policies that have ended."""
        self._engine = Engine(self._plan, self._states, self._now)
        self._wanted = frozenset(self._engine.decider.scanner.wanted.values())
        ends = (policy.until for policy in self._plan.policies if policy.until is not None)
        self._next_end = min((end for end in ends if end > self._now), default=math.inf)


@cache
def _response(status: int) -> bytes:
    return wire.response_headers_message(status)
