"""A Plan at work on requests that are over: the engine itself decides on each of them again."""

from extproc.engine import wire
from extproc.engine.exchange import Engine
from extproc.engine.outcome import Outcome
from extproc.engine.scan import TagValue
from extproc.policy.plan import Plan
from extproc.replay.entry import Entry

_SERVICE = "xds.cluster_name"


class Replay:
    """Decides on requests in the order of their log, whose time stamps are the clock."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._engine = Engine(plan)
        self._wanted = frozenset(self._engine.decider.scanner.wanted.values())
        self._now = 0.0

    def decide(self, entry: Entry) -> Outcome:
        """What becomes of the request."""
        self._now = max(self._now, entry.unix_seconds or 0.0)
        headers = {name: value for name, value in entry.headers.items() if name in self._wanted}
        attributes: dict[str, TagValue] = {_SERVICE: entry.service} if entry.service else {}
        exchange = self._engine.begin(f"00-{entry.trace_id}-0000000000000001-00")
        exchange.receive(wire.request_headers_message(headers.items(), attributes), self._now)
        outcome = exchange.finish(self._now)
        if outcome is None or exchange.errors:
            raise RuntimeError(f"the engine failed on {entry.file}:{entry.line}") from exchange.failure
        return outcome
