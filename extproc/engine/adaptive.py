"""Samplers that move their ratio: with the load of the processor, or with the traffic, towards a target.

Both compare R with a threshold that was settled before the trace came, so its probability is known and `th` is true.
"""

import math
from collections.abc import Callable

from extproc.engine.enrich import Received, value_of
from extproc.engine.pacing import NEVER, Paced
from extproc.engine.request import Request
from extproc.engine.states import Cell, CpuState, Level, Portion, States, TargetState
from extproc.policy.plan import Adaptive, Policy

MOST_KEYS = 1000
"""Values of a key that are told apart; what comes beyond shares one cell."""

_HYSTERESIS = 0.05  # of all CPU time: how far back the load has to go before the ratio does
_NEW = 0.9  # weight of the last interval in a cell's rate: two of them absorb a step of 10, up or down, to 10 %
_MINUTE = 60.0
_LONGEST = 256  # characters of a value by which a key tells requests apart

_Key = tuple[str | None, ...]


class CpuAdaptive:
    """Keeps a ratio that depends on how busy the processor was in the last interval."""

    __slots__ = ("_high", "_interval", "_low", "_readings", "_state", "_thresholds")

    def __init__(self, policy: Policy, adaptive: Adaptive, states: States) -> None:
        self._low, self._high = adaptive.cpu or (0.0, 1.0)
        self._interval = adaptive.interval_seconds
        self._readings = states.cpu
        self._state = states.of(policy.name, CpuState)
        self._thresholds = {
            Level.QUIET: _threshold(adaptive.max_ratio),
            Level.USUAL: policy.sampler.threshold,
            Level.BUSY: _threshold(adaptive.min_ratio),
        }

    def decide(self, randomness: int, now: float, request: Request) -> Paced:  # noqa: ARG002  as Pacer has it
        """See Pacer."""
        state = self._state
        if now >= state.update_at:
            self._update(now)
        threshold = self._thresholds[state.level]
        return randomness >= threshold, threshold

    def _update(self, now: float) -> None:
        state, readings = self._state, self._readings
        if math.isfinite(state.update_at) and readings.count > state.count:
            state.level = self._level((readings.sum - state.sum) / (readings.count - state.count))
        state.sum, state.count = readings.sum, readings.count
        state.update_at = now + self._interval

    def _level(self, usage: float) -> Level:
        level = self._state.level
        if usage > self._high - (_HYSTERESIS if level is Level.BUSY else 0):
            return Level.BUSY
        if usage < self._low + (_HYSTERESIS if level is Level.QUIET else 0):
            return Level.QUIET
        return Level.USUAL


class TargetAdaptive:
    """Keeps the ratio at which so many traces a second are kept, over all or by the values of a key."""

    __slots__ = ("_interval", "_max", "_min", "_portion", "_rate", "_read", "_state")

    def __init__(self, policy: Policy, adaptive: Adaptive, states: States, portion: Portion) -> None:
        self._rate = policy.sampler.rate or 0.0
        self._portion = portion
        self._interval = adaptive.interval_seconds
        self._min, self._max = adaptive.min_ratio, adaptive.max_ratio
        self._read = key_reader(adaptive.key, policy)
        self._state = states.of(policy.name, TargetState)
        self._state.use(adaptive.key)

    def decide(self, randomness: int, now: float, request: Request) -> Paced:
        """See Pacer. A key that has had no trace for a minute gets this one."""
        state = self._state
        if now >= state.update_at:
            self._update(now)
        self._portion.seen += 1
        cell = self._cell(self._read(request))
        cell.seen += 1
        threshold = 0 if now - cell.kept_at >= _MINUTE else cell.threshold
        if randomness < threshold:
            return False, threshold
        cell.kept += 1
        cell.kept_at = now
        if cell.kept >= cell.limit:
            self._halve(cell)
        return True, threshold

    def _cell(self, key: _Key) -> Cell:
        cells = self._state.cells
        cell = cells.get(key)
        if cell is None:
            if len(cells) >= MOST_KEYS:
                key = (None,)
                if (cell := cells.get(key)) is not None:
                    return cell
            cell = cells[key] = Cell()
            self._set(cell, self._max, self._rate * self._portion.share / len(cells))
        return cell

    def _set(self, cell: Cell, ratio: float, budget: float) -> None:
        """Begin an interval with `ratio`, which is to keep `budget` traces a second."""
        cell.ratio = min(max(ratio, self._min), self._max)
        cell.threshold = _threshold(cell.ratio)
        cell.seen = cell.kept = 0
        cell.budget = budget * self._interval
        cell.limit = 2 * cell.budget + 2

    def _halve(self, cell: Cell) -> None:
        """More than twice the budget was kept before the interval is over: traffic has risen, or has just begun."""
        cell.ratio = max(cell.ratio / 2, self._min)
        cell.threshold = _threshold(cell.ratio)
        cell.limit += max(cell.budget, 1.0)

    def _update(self, now: float) -> None:
        state = self._state
        elapsed = now - state.update_at + self._interval
        state.update_at = now + self._interval
        if not math.isfinite(elapsed):
            return
        cells = state.cells  # an engine that is being built with another key replaces them
        for key, cell in tuple(cells.items()):
            rate = cell.seen / elapsed
            cell.rate = rate if cell.rate is None else _NEW * rate + (1 - _NEW) * cell.rate
            if cell.seen:
                cell.seen_at = now
            elif now - cell.seen_at > _MINUTE:
                del cells[key]
        left, count = self._rate * self._portion.share, len(cells)
        for cell in sorted(cells.values(), key=lambda cell: cell.rate or 0.0):
            share, rate = left / count, cell.rate or 0.0
            self._set(cell, share / rate if rate > share else self._max, share)
            left -= min(share, rate)
            count -= 1


def key_reader(key: tuple[str, ...], policy: Policy) -> Callable[[Request], _Key]:
    """A function to the values of `key` that a request has."""
    parts = [_part(name, policy) for name in key]
    return lambda request: tuple([part(request) for part in parts])


def _part(name: str, policy: Policy) -> Callable[[Request], str | None]:
    match name:
        case "path":
            return lambda request: request.path[:_LONGEST]
        case "service":
            return lambda request: request.service
        case "method":
            return lambda request: request.method[:_LONGEST]
    tag = next((tag for tag in policy.tags if tag.name == name), None)
    if tag is None:  # it has no value in this environment
        return lambda _: None
    read = value_of(tag, policy.match.path)

    def value(request: Request) -> str | None:
        found = read(Received(request, b"", {}, {}))
        return None if found is None else str(found)[:_LONGEST]

    return value


def _threshold(ratio: float) -> int:
    return NEVER - round(ratio * NEVER)
