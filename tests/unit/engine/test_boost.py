"""A boost: when it begins, what it keeps, and when it ends."""

import pytest

from extproc.engine import wire
from extproc.engine.exchange import Engine
from extproc.engine.states import States
from extproc.policy.load import load_text
from helpers import request_headers, response_headers

LOWEST, HIGHEST = "0" * 18 + "00000000000001", "f" * 32
REQUEST = request_headers({":method": "GET", ":path": "/x"}, {"xds.cluster_name": "s"})
BOOST = "{when: {status: '>=500', above: 25%, window: 10s}, for: 20s, cooldown: 30s, ratio: RATIO}"


def engine_of(sampling: str, ratio: str = "1", states: States | None = None) -> Engine:
    """One policy for every request."""
    boost = BOOST.replace("RATIO", ratio)
    text = f"tracing: {{policies: [{{name: p, sampling: {sampling}, boost: {boost}}}]}}"
    return Engine(load_text(text.encode(), "f", {}), states)


def send(
    engine: Engine, now: float, status: int = 200, trace_id: str = LOWEST, *, logged: bool = False
) -> tuple[bool, object]:
    """Whether a new trace is kept at `now`, and the probability that is told; it is answered at once."""
    exchange = engine.begin(f"00-{trace_id}-b7ad6b7169203331-00", logged=logged)
    metadata, mutation = wire.describe(exchange.receive(REQUEST, now))
    exchange.receive(response_headers({":status": str(status)}), now)
    exchange.finish(now)
    return bool(mutation.set_headers), metadata.get("sampling.probability")


def fail(engine: Engine, now: float, failures: int, successes: int, *, logged: bool = False) -> None:
    """Some requests at once."""
    for status, count in ((200, successes), (500, failures)):
        for _ in range(count):
            send(engine, now, status, logged=logged)


@pytest.mark.parametrize(
    ("failures", "successes", "boosted"),
    [(3, 7, True), (2, 7, False), (9, 0, False), (10, 0, True), (25, 75, False), (26, 74, True), (0, 50, False)],
)
def test_it_begins_above_its_share(failures: int, successes: int, boosted: bool) -> None:  # noqa: FBT001  a row
    """More than the share has to fail, of ten responses at least."""
    engine = engine_of("{policy: always_off}")
    fail(engine, 100, failures, successes)

    assert (boosted, float(boosted)) == send(engine, 101)


@pytest.mark.parametrize("logged", [False, True])
def test_it_lasts_then_rests(logged: bool) -> None:  # noqa: FBT001  a row
    """As long as `for` says, and for `cooldown` after that nothing raises it again."""
    engine = engine_of("{policy: always_off}")
    fail(engine, 100, 10, 0, logged=logged)
    assert [True, True, False] == [send(engine, now)[0] for now in (100, 119.9, 120)]
    fail(engine, 149, 20, 0, logged=logged)
    assert not send(engine, 149.5)[0]
    fail(engine, 150, 1, 0, logged=logged)
    assert [True, True, False] == [send(engine, now)[0] for now in (150, 169.9, 170)]


def test_the_window_moves_on() -> None:
    """Failures that are older than the window no longer count; newer ones add up."""
    engine = engine_of("{policy: always_off}")
    fail(engine, 100, 9, 0)
    fail(engine, 111, 5, 0)
    assert not send(engine, 112)[0]
    fail(engine, 116, 5, 0)
    assert send(engine, 116)[0]


def test_a_response_that_never_came_is_no_failure() -> None:
    """A client that hangs up says nothing of the service."""
    engine = engine_of("{policy: always_off}")
    for _ in range(20):
        exchange = engine.begin(None)
        exchange.receive(REQUEST, 100.0)
        exchange.finish(100.0)

    assert not send(engine, 101)[0]


@pytest.mark.parametrize(
    ("sampling", "ratio", "trace_id", "before", "during"),
    [
        ("{policy: always_on}", "0.5", LOWEST, (True, 1.0), (True, 1.0)),
        ("{ratio: 0.25}", "1", LOWEST, (False, 0.25), (True, 1.0)),
        ("{ratio: 0.25}", "0.5", LOWEST, (False, 0.25), (False, 0.5)),
        ("{ratio: 0.25}", "0.5", "0" * 18 + "80000000000000", (False, 0.25), (True, 0.5)),
        ("{ratio: 0.5}", "0.25", "0" * 18 + "80000000000000", (True, 0.5), (True, 0.5)),
        ("{policy: rate_limited, traces_per_second: 0.001}", "1", LOWEST, (False, None), (True, 1.0)),
        ("{policy: rate_limited, traces_per_second: 0.001}", "0.5", LOWEST, (False, None), (False, None)),
        ("{policy: rate_limited, traces_per_second: 0.001}", "0.5", HIGHEST, (False, None), (True, None)),
        ("{policy: reservoir, traces_per_second: 0.001, ratio: 0.25}", "0.5", LOWEST, (False, 0.25), (False, 0.5)),
        (
            "{policy: adaptive, base_ratio: 0.25, min_ratio: 0.25, max_ratio: 0.25}",
            "0.5",
            LOWEST,
            (False, 0.25),
            (False, 0.5),
        ),
    ],
)
def test_every_sampler_can_be_boosted(
    sampling: str, ratio: str, trace_id: str, before: tuple[bool, object], during: tuple[bool, object]
) -> None:
    """The higher threshold decides, and what is told is its probability, or nothing where that is not known."""
    engine = engine_of(sampling, ratio)
    send(engine, 99, trace_id=HIGHEST)
    assert before == send(engine, 99, trace_id=trace_id)
    fail(engine, 100, 10, 0)
    assert during == send(engine, 100, trace_id=trace_id)


def test_a_reload_goes_on() -> None:
    """A boost that has begun lasts, and begins once for the metrics."""
    states = States()
    fail(engine_of("{policy: always_off}", states=states), 100, 10, 0)
    engine = engine_of("{ratio: 0}", states=states)

    assert [(True, 1.0), (False, 0.0)] == [send(engine, 119), send(engine, 120)]
    assert [{"p": 1}, {}] == [states.boosts(), states.boosts()]


def test_the_access_log_leaves_the_response_to_us() -> None:
    """Where Envoy's access log times requests, response headers are asked for all the same."""
    engine = engine_of("{policy: always_off}")

    assert engine.decider.reads_responses
    assert not Engine(load_text(b"tracing: {policies: [{name: p}]}", "f", {})).decider.reads_responses
