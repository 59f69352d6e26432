"""Each case is what it says, so that what is compared is comparable."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from bench.__main__ import HERE
from bench.cases import CASES, MAIN, policy_text
from bench.peers.job import Sampler
from bench.suites import COMPARISON, SHORT, Settings, suites
from extproc.policy.load import load_text

KEPT = "00-0af7651916cd43ddffffffffffffffff-b7ad6b7169203331-00"
DROPPED = "00-0af7651916cd43dd0000000000000001-b7ad6b7169203331-00"


@pytest.mark.parametrize("tags", [None, 0, 32])
@pytest.mark.parametrize("mode", ["annotate", "emit"])
def test_policies_load(mode: str, tags: int | None) -> None:
    """The policy file of a case has as many policies and tags as the case says."""
    case = replace(CASES[MAIN], mode=mode, tags=tags, policies=7, ratio=0.25)
    plan = load_text(policy_text(case).encode(), "policy", {})
    assert 7 == len(plan.policies)
    assert (2 if tags is None else tags) == len(plan.policies[0].tags)
    assert mode == plan.mode.value


def test_floors_are_wired_as_what_stands_on_them() -> None:
    """An echo that a case is divided by has the same transport and the same messages."""
    for case in CASES.values():
        if case.floor and case.server == "extproc":
            floor = CASES[case.floor]
            assert ("echo", case.timings, case.unix) == (floor.server, floor.timings, floor.unix)


def test_the_peers_do_the_job() -> None:
    """The policy by prefix, the tags, and OpenTelemetry's R >= T for a trace that begins here."""
    sampler = Sampler(services=50, ratio=0.1)
    found = sampler.decide({":path": "/api/service-7/1", "x-user-id": "u"}, KEPT)
    assert found.force
    assert ("u", "envoy", "service-7", "policy", 0.1) == tuple(found.tags.values())
    assert not sampler.decide({":path": "/api/service-7/1"}, DROPPED).force
    assert "default" == sampler.decide({":path": "/other"}, DROPPED).tags["sampling.policy"]
    followed = sampler.decide({":path": "/other", "traceparent": KEPT}, KEPT)
    assert (False, "parent") == (followed.force, followed.tags["sampling.reason"])


def test_a_short_run_tries_every_suite() -> None:
    """The smoke run leaves no suite out, and of curves it has both ends."""
    full, short = suites(Settings()), suites(SHORT)
    assert [*full] == [*short]
    assert [*full[COMPARISON].points] == [*short[COMPARISON].points]
    for name, suite in full.items():
        ends = [*suite.points][:: len(suite.points) - 1]
        assert ends == [*short[name].points][:: len(short[name].points) - 1]


def test_micro_benchmarks_run(tmp_path: Path) -> None:
    """A piece is timed, and the limits are judged by the figures: a decision at 10,000 policies among them."""
    file = tmp_path / "micro.json"
    command = [sys.executable, "-m", "bench.micro", "--debug-single-value", "--quiet", "-o", str(file)]
    done = subprocess.run(  # noqa: S603  our own command
        [*command, "--only", "decide, service"], cwd=HERE.parent, capture_output=True, text=True, check=False
    )
    assert done.returncode in {0, 1}, done.stderr  # one value decides nothing about speed
    assert "decide, service: " in done.stdout
    assert " times at 10,000 policies of 10, at most 1.2" in done.stdout
    assert file.exists()
