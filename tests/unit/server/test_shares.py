"""Sharing rates through a store that is not there: everybody has their fallback, and nobody waits for long."""

import asyncio
import socket
import time
from threading import Lock

import pytest

from extproc.engine.exchange import Engine
from extproc.engine.states import Portion, States
from extproc.policy.load import load_text
from extproc.policy.plan import Plan
from extproc.server import shares
from extproc.server.shares import Shares, StoreError
from extproc.telemetry.recorder import Recorder
from helpers import request_headers


def plan_of(store: str) -> Plan:
    """Four replicas, one policy with a rate and one without."""
    policies = "[{name: limited, sampling: {policy: rate_limited, traces_per_second: 100}}, {name: plain}]"
    return load_text(f"tracing: {{share: {{replicas: 4{store}}}, policies: {policies}}}".encode(), "f", {})


def meet(engine: Engine, count: int) -> None:
    """New traces."""
    for _ in range(count):
        engine.begin(None).receive(request_headers({":method": "GET", ":path": "/"}), 100.0)


@pytest.mark.parametrize("answers", [False, True])
def test_without_an_answer_there_is_the_fallback(answers: bool) -> None:  # noqa: FBT001  a row
    """Nobody listens, or somebody who says nothing: within half a second it is given up, counted and fallen back."""

    async def check() -> None:
        with socket.create_server(("127.0.0.1", 0)) as silent:
            port = silent.getsockname()[1]
            if not answers:
                silent.close()
            plan = plan_of(f", store: 'redis://127.0.0.1:{port}/0'")
            states, recorder = States(share=0.5), Recorder()
            sharing = Shares(states, recorder, lambda: plan, Lock())
            engine = Engine(plan, states)
            portion = states.of("limited", Portion)
            portion.hold(0.75)
            meet(engine, 5)
            began = time.monotonic()
            await sharing.refresh()
            assert time.monotonic() - began < 2
            assert 0.125 == portion.share
            assert {(): 1} == recorder.collect().numbers["extproc.store.errors"]
            await sharing.close()

    asyncio.run(check())


def test_a_portion_is_held_over_a_reload() -> None:
    """A new engine finds it; without a store it is the fallback again."""
    states = States()
    plan = plan_of(", store: 'redis://127.0.0.1:1/0'")
    Engine(plan, states)
    portion = states.of("limited", Portion)
    assert 0.25 == portion.share
    portion.hold(0.75)
    Engine(plan, states)
    assert 0.75 == portion.share

    asyncio.run(Shares(states, Recorder(), lambda: plan_of(""), Lock()).refresh())
    assert 0.25 == portion.share


def test_the_store_is_an_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """A policy that needs what is not installed is refused with what to do; its URL is told to nobody."""
    plan = plan_of(", store: 'redis://:s3cr3t@redis:6379/0'")
    shares.require(plan)
    assert "s3cr3t" not in repr(plan)
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    shares.require(plan_of(""))
    with pytest.raises(StoreError, match=r"pip install 'extproc\[redis\]'"):
        shares.require(plan)
