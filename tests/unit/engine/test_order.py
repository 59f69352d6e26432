"""The legal order of ext_proc messages."""

import pytest

from extproc.engine.exchange import Engine
from extproc.engine.order import LEGAL, START, Progress, State
from extproc.engine.outcome import Phase, StreamError
from extproc.policy.plan import Plan, Policy, Sampler, SamplerKind
from helpers import piece, read_reply, request_headers, response_headers

PLAN = Plan(policies=(), default=Policy("default", -1, Sampler(SamplerKind.ALWAYS_OFF, 0.0, 1 << 56)))
MESSAGES = {
    Phase.REQUEST_HEADERS: request_headers({":method": "GET", ":path": "/"}),
    Phase.RESPONSE_HEADERS: response_headers({":status": "200"}),
    **{phase: piece(phase, b"x") for phase in Phase if not phase.endswith("_headers")},
}
STATES = [(request, response) for request in Progress for response in Progress]
PARTS = {Progress.HEADERS: "headers", Progress.BODY: "body", Progress.TRAILERS: "trailers"}


def way_to(state: State) -> list[Phase]:
    """Messages that lead from the start to `state`."""
    request, response = state
    phases = [Phase(f"request_{PARTS[request]}")] if request else []
    return [*phases, Phase(f"response_{PARTS[response]}")] if response else phases


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("phase", Phase)
def test_every_cell_of_the_table(state: State, phase: Phase) -> None:
    """A cell of the table is an ordinary message; a missing cell is a protocol error, answered with 'continue'."""
    exchange = Engine(PLAN).begin(None)
    for earlier in way_to(state):
        exchange.receive(MESSAGES[earlier], 0.0)
    assert [] == exchange.errors

    reply = read_reply(exchange.receive(MESSAGES[phase], 0.0))

    assert phase == reply.phase
    assert ([] if (state, phase) in LEGAL else [StreamError.PROTOCOL]) == exchange.errors


def test_headers_come_first_and_once() -> None:
    """Nothing precedes headers, headers come once, and trailers end a direction; the directions don't interfere."""
    missing = {(state, phase) for state in STATES for phase in Phase} - set(LEGAL)
    expected = {
        (state, phase)
        for state in STATES
        for phase in Phase
        for progress in [state[0] if phase.startswith("request") else state[1]]
        if (phase.endswith("headers") and progress > Progress.NOTHING) or progress is Progress.TRAILERS
    }
    assert expected == missing
    assert (START, Phase.RESPONSE_HEADERS) in LEGAL
