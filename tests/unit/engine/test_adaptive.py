"""Samplers that move their ratio: with the processor's load, and towards a target."""

import random
from functools import cache
from itertools import pairwise

import pytest

from extproc.engine import wire
from extproc.engine.adaptive import MOST_KEYS
from extproc.engine.exchange import Engine
from extproc.engine.outcome import Outcome
from extproc.engine.states import States, TargetState
from extproc.policy.load import load_text
from helpers import request_headers

CPU = "{policy: adaptive, base_ratio: 0.25, min_ratio: 0.125, max_ratio: 0.5, update_interval: 10s}"
FIRST_SECONDS = 1000.0


def engine_of(sampling: str, states: States | None = None, tags: str = "[]") -> Engine:
    """One policy for every request."""
    text = f"tracing: {{policies: [{{name: p, sampling: {sampling}, custom_tags: {tags}}}]}}"
    return Engine(load_text(text.encode(), "f", {}), states)


@cache
def message(path: str, *headers: tuple[str, str]) -> bytes:
    """Request headers as Envoy sends them."""
    return request_headers({":method": "GET", ":path": path, **dict(headers)}, {"xds.cluster_name": "s"})


class Traffic:
    """Requests with random trace ids, always the same ones."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._random = random.Random(7)  # noqa: S311  the same in each run

    def send(self, now: float, path: str = "/x", **headers: str) -> tuple[bool, float]:
        """Whether a new trace is kept, and with what probability. That probability is always the truth."""
        trace_id = f"{self._random.getrandbits(128) | 1:032x}"
        exchange = self.engine.begin(f"00-{trace_id}-b7ad6b7169203331-00")
        metadata, _ = wire.describe(exchange.receive(message(path, *headers.items()), now))
        outcome = exchange.finish(now)
        assert isinstance(outcome, Outcome)
        chance = float(metadata["sampling.probability"])
        threshold = round((1 - chance) * 2**56)
        assert outcome.sampled == (int(trace_id[-14:], 16) >= threshold)
        return outcome.sampled, chance

    def interval(self, start: float, per_second: float, path: str = "/x", *, seconds: float = 10) -> float:
        """An interval of steady traffic; kept traces per second."""
        count = round(per_second * seconds)
        return sum(self.send(start + number / per_second, path)[0] for number in range(count)) / seconds


@pytest.mark.parametrize(
    ("loads", "chances"),
    [
        ([0.5, 0.81, 0.5], [0.25, 0.125, 0.25]),
        ([0.81, 0.76, 0.74], [0.125, 0.125, 0.25]),
        ([0.19, 0.24, 0.26], [0.5, 0.5, 0.25]),
        ([0.81, 0.1, 0.9], [0.125, 0.5, 0.125]),
        ([0.79, 0.21, 0.5], [0.25, 0.25, 0.25]),
    ],
)
def test_the_ratio_follows_the_load(loads: list[float], chances: list[float]) -> None:
    """Above 80 % the least, below 20 % the most, else the base; back only when the load is 5 % inside again."""
    states = States()
    traffic = Traffic(engine_of(CPU, states))
    assert 0.25 == traffic.send(FIRST_SECONDS)[1]
    found: list[float] = []
    for number, load in enumerate(loads, start=1):
        states.cpu.add(load)
        assert (found or [0.25])[-1] == traffic.send(FIRST_SECONDS + 10 * number - 0.5)[1]
        found.append(traffic.send(FIRST_SECONDS + 10 * number)[1])
    assert chances == found


def test_a_load_is_the_mean_of_its_interval() -> None:
    """One peak is none; and without any reading nothing moves."""
    states = States()
    traffic = Traffic(engine_of(CPU, states))
    traffic.send(FIRST_SECONDS)
    for load in (1.0, 0.5, 0.5):
        states.cpu.add(load)
    assert 0.25 == traffic.send(FIRST_SECONDS + 10)[1]
    states.cpu.add(0.9)
    assert 0.125 == traffic.send(FIRST_SECONDS + 20)[1]
    assert 0.125 == traffic.send(FIRST_SECONDS + 30)[1]


def test_a_step_of_ten_is_absorbed_within_three_intervals() -> None:
    """Ten times the traffic, and back: in the third interval kept traces are within 20 % of the target."""
    traffic = Traffic(engine_of("{policy: adaptive, target_traces_per_second: 20}"))
    kept = []
    start = FIRST_SECONDS
    for per_second in [100.0] * 4 + [1000.0] * 4 + [100.0] * 4:
        kept.append(traffic.interval(start, per_second))
        start += 10
    assert pytest.approx(20, rel=0.15) == kept[3]
    assert kept[4] < 100  # the ratio of before would have kept 200
    for settled in (6, 7, 10, 11):
        assert pytest.approx(20, rel=0.2) == kept[settled]


def test_a_cold_start_is_bounded() -> None:
    """Nothing is known of the first interval's traffic, and still it does not keep it all."""
    traffic = Traffic(engine_of("{policy: adaptive, target_traces_per_second: 10}"))

    assert 10 < traffic.interval(FIRST_SECONDS, 1000) < 80


def test_less_than_the_target_is_kept_whole() -> None:
    """Where too little comes, everything is kept, up to `max_ratio`."""
    assert [5.0] * 2 == [
        Traffic(engine_of("{policy: adaptive, target_traces_per_second: 10}")).interval(start, 5) for start in (50, 60)
    ]
    capped = Traffic(engine_of("{policy: adaptive, target_traces_per_second: 10, max_ratio: 0.5}"))
    capped.send(FIRST_SECONDS)
    assert {0.5} == {capped.send(FIRST_SECONDS + number / 10)[1] for number in range(1, 300)}


def test_the_least_ratio_holds_against_the_target() -> None:
    """`min_ratio` keeps more than the target asks for."""
    traffic = Traffic(engine_of("{policy: adaptive, target_traces_per_second: 1, min_ratio: 0.25}"))
    for start in (0, 10, 20):
        traffic.interval(FIRST_SECONDS + start, 200)

    assert 0.25 == traffic.send(FIRST_SECONDS + 30)[1]


def test_keys_share_the_target() -> None:
    """What a quiet key leaves goes to the busy ones, and each of those has the same."""
    traffic = Traffic(engine_of("{policy: adaptive, target_traces_per_second: 12, key: [path]}"))
    rates = {"/quiet": 2, "/busy": 200, "/busier": 400}
    for start in (0, 10, 20, 30):
        kept = dict.fromkeys(rates, 0)
        moments = sorted((number / rate, path) for path, rate in rates.items() for number in range(rate * 10))
        for moment, path in moments:
            kept[path] += traffic.send(FIRST_SECONDS + start + moment, path)[0]
    assert 20 == kept["/quiet"]
    assert pytest.approx(50, rel=0.35) == kept["/busy"]
    assert pytest.approx(50, rel=0.35) == kept["/busier"]


def test_every_key_has_a_trace_a_minute() -> None:
    """However rare it is and however little is to be kept; that trace was certain, and says so."""
    traffic = Traffic(engine_of("{policy: adaptive, target_traces_per_second: 0.01, key: [path]}"))
    for second in range(60):
        for number in range(20):
            traffic.send(FIRST_SECONDS + second + number / 20, "/busy")
    kept = []
    for second in range(60, 360):
        for number in range(20):
            now = FIRST_SECONDS + second + number / 20
            kept += [(now, chance) for sampled, chance in [traffic.send(now, "/busy")] if sampled]
    assert 1.0 in {chance for _, chance in kept}
    times = [FIRST_SECONDS, *(now for now, _ in kept), FIRST_SECONDS + 360]
    assert max(later - earlier for earlier, later in pairwise(times[1:])) <= 60.1
    assert (True, 1.0) == traffic.send(FIRST_SECONDS + 360, "/rare")


def test_a_key_may_name_tags() -> None:
    """Those that a request itself settles, and what there is of it."""
    tags = "[{tag: tier, request_header: {name: x-tier}}]"
    sampling = "{policy: adaptive, target_traces_per_second: 1, key: [method, service, tier]}"
    engine = engine_of(sampling, states := States(), tags)
    traffic = Traffic(engine)
    for tier in ("gold", "gold", "iron"):
        traffic.send(FIRST_SECONDS, **{"x-tier": tier})
    traffic.send(FIRST_SECONDS)

    cells = states.of("p", TargetState).cells
    assert {("GET", "s", "gold"): 2, ("GET", "s", "iron"): 1, ("GET", "s", None): 1} == {
        key: cell.seen for key, cell in cells.items()
    }


def test_keys_are_bounded() -> None:
    """Past a thousand values the others share a cell; one that was not seen for a minute makes room."""
    states = States()
    traffic = Traffic(engine_of("{policy: adaptive, target_traces_per_second: 1, key: [path]}", states))
    for number in range(MOST_KEYS + 500):
        traffic.send(FIRST_SECONDS, f"/{number}")
    cells = states.of("p", TargetState).cells
    assert (MOST_KEYS + 1, 500) == (len(cells), cells[None,].seen)
    for moment in (30, 60, 95):
        traffic.send(FIRST_SECONDS + moment, "/1")
    assert [("/1",)] == list(states.of("p", TargetState).cells)


def test_a_reload_goes_on() -> None:
    """What was learnt of the traffic holds under a new target; another key begins anew."""
    states = States()
    before = Traffic(engine_of("{policy: adaptive, target_traces_per_second: 10}", states))
    for start in (0, 10, 20):
        before.interval(FIRST_SECONDS + start, 100)
    after = Traffic(engine_of("{policy: adaptive, target_traces_per_second: 20}", states))
    assert pytest.approx(0.1, rel=0.1) == after.send(FIRST_SECONDS + 29.99)[1]
    assert pytest.approx(0.2, rel=0.1) == after.send(FIRST_SECONDS + 30)[1]
    other = Traffic(engine_of("{policy: adaptive, target_traces_per_second: 20, key: [path]}", states))
    assert (True, 1.0) == other.send(FIRST_SECONDS + 30.1)


def test_a_worker_has_its_share_of_the_target() -> None:
    """Of two workers each keeps half of it, of two replicas half of that."""
    text = b"tracing: {share: {replicas: 2}, sampling: {policy: adaptive, target_traces_per_second: 40}}"
    traffic = Traffic(Engine(load_text(text, "f", {}), States(share=0.5)))

    kept = [traffic.interval(FIRST_SECONDS + start, 100) for start in (0, 10, 20)]
    assert pytest.approx(10, rel=0.2) == kept[2]
