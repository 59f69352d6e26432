"""Samplers that remember: what they keep of a stream of traces, and that a reload does not make them forget."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.engine.exchange import Engine
from extproc.engine.outcome import Outcome
from extproc.engine.pace import Bucket
from extproc.engine.pacing import probability
from extproc.engine.states import Portion, States, Tokens
from extproc.policy.load import load_text
from extproc.policy.plan import Plan
from helpers import read_reply, request_headers

LOWEST, HIGHEST = "0" * 18 + "00000000000001", "f" * 32


def plan_of(sampling: str, name: str = "p") -> Plan:
    """One policy for every request."""
    return load_text(f"tracing: {{policies: [{{name: {name}, sampling: {sampling}}}]}}".encode(), "f", {})


def decided(engine: Engine, now: float, trace_id: str = LOWEST, path: str = "/x") -> tuple[bool, object]:
    """Whether a new trace is kept at `now`, and the probability that is told."""
    exchange = engine.begin(f"00-{trace_id}-b7ad6b7169203331-00")
    message = request_headers({":method": "GET", ":path": path}, {"xds.cluster_name": "s"})
    reply = read_reply(exchange.receive(message, now))
    outcome = exchange.finish(now)
    assert isinstance(outcome, Outcome)
    return outcome.sampled, reply.metadata.get("sampling.probability")


def kept(engine: Engine, *times: float, trace_id: str = LOWEST) -> list[bool]:
    """Which traces of these moments are kept."""
    return [decided(engine, now, trace_id)[0] for now in times]


def test_rate_limited_keeps_its_burst_then_its_rate() -> None:
    """The bucket is full at first; later there is a token every 1 / traces_per_second."""
    engine = Engine(plan_of("{policy: rate_limited, traces_per_second: 2, burst: 3}"))

    assert [True, True, True, False] == kept(engine, 100, 100, 100, 100)
    assert [False, True, False] == kept(engine, 100.4375, 100.5, 100.9375)
    assert [True, True, True, False] == kept(engine, 200, 200, 200, 200)


def test_rate_limited_saves_the_tokens_of_a_second_by_default() -> None:
    """Without `burst` the bucket holds what flows in within a second, and one at least."""
    assert 5 == sum(kept(Engine(plan_of("{policy: rate_limited, traces_per_second: 5}")), *[7.0] * 20))
    assert 1 == sum(kept(Engine(plan_of("{policy: rate_limited, traces_per_second: 0.1}")), *[7.0] * 20))


def test_rate_limited_says_no_probability() -> None:
    """Neither of a trace that is kept nor of one that is dropped."""
    engine = Engine(plan_of("{policy: rate_limited, traces_per_second: 1}"))

    assert [(True, None), (False, None)] == [decided(engine, 5, HIGHEST), decided(engine, 5, HIGHEST)]


@given(
    rate=st.floats(0.01, 1000),
    burst=st.floats(1, 100),
    gaps=st.lists(st.floats(0, 5), min_size=1, max_size=200),
)
def test_a_bucket_never_gives_more_than_its_burst_and_its_rate(rate: float, burst: float, gaps: list[float]) -> None:
    """Of t seconds at most burst + rate * t tokens can be taken, whenever they are asked for."""
    bucket, now, taken = Bucket(rate, burst, Tokens(), Portion()), 50.0, 0
    for gap in gaps:
        now += gap
        taken += bucket.take(now)
        assert taken <= burst + rate * (now - 50.0) + 1e-6


def test_a_clock_that_goes_back_takes_nothing_away() -> None:
    """Requests of two threads may come out of order by a hair."""
    bucket = Bucket(1, 2, Tokens(), Portion())

    assert [True, True, False, False, True] == [bucket.take(now) for now in (10, 9, 10, 8, 11)]


def test_reservoir_keeps_the_first_of_each_second_then_a_share() -> None:
    """X-Ray's rule, and each trace says the probability that it had."""
    engine = Engine(plan_of("{policy: reservoir, traces_per_second: 2, ratio: 0.25}"))

    assert [(True, 1.0), (True, 1.0), (False, 0.25), (True, 0.25)] == [
        decided(engine, 10.5, trace_id) for trace_id in (LOWEST, LOWEST, LOWEST, HIGHEST)
    ]
    assert [False, True, True, False] == kept(engine, 10.9375, 11.0, 11.5, 11.9375)
    assert [True, True, False] == kept(engine, 99, 99, 99)


@pytest.mark.parametrize(("rate", "expected"), [(1, 60), (2.5, 150), (0.25, 15), (7, 420)])
def test_reservoir_keeps_its_rate_of_a_busy_minute(rate: float, expected: int) -> None:
    """Rates that are no whole number are kept on average, too."""
    engine = Engine(plan_of(f"{{policy: reservoir, traces_per_second: {rate}, ratio: 0}}"))

    found = sum(kept(engine, *[60 + tick / 32 for tick in range(60 * 32)]))
    assert expected <= found <= expected + math.ceil(rate)


def test_reservoir_counts_stay_true() -> None:
    """Kept traces, each for 1 / its probability, add up to those that came."""
    engine = Engine(plan_of("{policy: reservoir, traces_per_second: 5, ratio: 0.125}"))
    count = 8000

    found = [
        decided(engine, 60 + number / 100, f"{number * 0x9E3779B97F4A7C15 % 2**56 + 2**60:032x}")
        for number in range(count)
    ]

    assert abs(count - sum(1 / float(str(chance)) for sampled, chance in found if sampled)) < count * 0.02


def test_a_reload_remembers() -> None:
    """A policy of the same name goes on with the tokens that are left, under its new settings."""
    states = States()
    before = Engine(plan_of("{policy: rate_limited, traces_per_second: 1, burst: 4}"), states)
    assert [True] * 3 == kept(before, 10, 10, 10)
    after = Engine(plan_of("{policy: rate_limited, traces_per_second: 2, burst: 8}"), states)
    other = Engine(plan_of("{policy: rate_limited, traces_per_second: 2, burst: 8}", "other"), states)

    assert [True, False] == kept(after, 10, 10)
    assert [True] * 8 + [False] == kept(other, *[10] * 9)
    assert [True, True, False] == kept(after, 11, 11, 11)


def test_a_policy_that_was_taken_away_is_forgotten() -> None:
    """One that comes back begins anew: memory is bounded by the file."""
    states = States()
    plan = plan_of("{policy: rate_limited, traces_per_second: 1, burst: 1}")
    assert [True, False] == kept(Engine(plan, states), 10, 10)
    states.keep({"p", "default"})
    assert [False] == kept(Engine(plan, states), 10)
    states.keep({"default"})
    assert [True] == kept(Engine(plan, states), 10)


def test_a_worker_has_its_share() -> None:
    """Two workers share rate and burst; a bucket of less than one token would keep nothing for ever."""
    plan = plan_of("{policy: rate_limited, traces_per_second: 10, burst: 20}")

    found = kept(Engine(plan, States(share=0.5)), *[10.0] * 30, *[11.0] * 30)
    assert (10, 5) == (sum(found[:30]), sum(found[30:]))
    small = plan_of("{policy: rate_limited, traces_per_second: 1, burst: 1}")
    assert [True, False, True] == kept(Engine(small, States(share=0.25)), 10, 13.5, 14)


@pytest.mark.parametrize(
    ("sampling", "first", "next_second"),
    [
        ("{policy: rate_limited, traces_per_second: 12, burst: 24}", 4, 2),
        ("{policy: reservoir, traces_per_second: 12, ratio: 0}", 2, 2),
    ],
)
def test_replicas_share_a_rate(sampling: str, first: int, next_second: int) -> None:
    """Of three replicas with two workers each, a worker has a sixth."""
    text = f"tracing: {{share: {{replicas: 3}}, sampling: {sampling}}}"
    engine = Engine(load_text(text.encode(), "f", {}), States(share=0.5))

    found = kept(engine, *[10.0] * 30, *[11.0] * 30)
    assert (first, next_second) == (sum(found[:30]), sum(found[30:]))


def test_policies_without_sampling_count_for_themselves() -> None:
    """They have the default's settings and a bucket of their own."""
    text = b"""
tracing:
  sampling: {policy: rate_limited, traces_per_second: 1}
  policies: [{match: {path: /a}}, {match: {path: /b}}]
"""
    engine = Engine(load_text(text, "f", {}))

    assert [True, False] * 3 == [decided(engine, 10, path=path)[0] for path in ("/a", "/a", "/b", "/b", "/c", "/c")]


def test_probability_of_a_threshold() -> None:
    """The share of all R that reach it."""
    assert [1.0, 0.25, 0.0] == [probability(threshold) for threshold in (0, 3 << 54, 1 << 56)]


@pytest.mark.parametrize(
    ("sampling", "trace_ids", "expected"),
    [
        ("{policy: rate_limited, traces_per_second: 1, parent: ignore}", [LOWEST], ["ot=rv:00000000000005,a=b"]),
        (
            "{policy: reservoir, traces_per_second: 1, ratio: 0.25, parent: ignore}",
            [LOWEST, HIGHEST],
            ["ot=th:0;rv:00000000000005,a=b", "ot=rv:00000000000005,a=b"],
        ),
        ("{policy: reservoir, traces_per_second: 1, ratio: 0, parent: ignore}", [LOWEST], ["ot=rv:00000000000005,a=b"]),
    ],
)
def test_the_threshold_in_tracestate_is_true(sampling: str, trace_ids: list[str], expected: list[str]) -> None:
    """`th` says the probability of this decision, and is erased where that is not known, also a caller's."""
    text = f"tracing: {{spans: {{mode: emit}}, sampling: {sampling}}}"
    engine = Engine(load_text(text.encode(), "f", {}))

    states = []
    for trace_id in trace_ids:
        headers = {
            ":method": "GET",
            ":path": "/",
            "traceparent": f"00-{trace_id}-b7ad6b7169203331-01",
            "tracestate": "a=b,ot=th:4;rv:00000000000005",
        }
        reply = read_reply(engine.begin(None).receive(request_headers(headers), 10.0))
        states.append(reply.set_headers["tracestate"])
    assert expected == states
