"""Samplers that count, policies that end and policies that are tried, through a real Envoy."""

import asyncio
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from system import System, running

LIMITED = """
tracing:
  sampling: {policy: always_off}
  policies:
    - name: limited
      match: {path: /limited}
      sampling: {policy: rate_limited, traces_per_second: 20, burst: 10}
    - name: reserved
      match: {path: /reserved}
      sampling: {policy: reservoir, traces_per_second: 5, ratio: 0.25}
"""
QUARTER = 0xC0000000000000


def flags(system: System, names: list[str]) -> list[str]:
    """What the upstream was told of each request."""
    return [system.upstream_trace(name)[1] for name in names]


def test_rate_limited_keeps_its_rate(tmp_path: Path) -> None:
    """What the upstream saw sampled is at most burst + rate * seconds, nearly all of that, and what is counted."""

    async def check() -> None:
        async with running(tmp_path, LIMITED) as system:
            began = time.monotonic()
            answers = []
            while time.monotonic() - began < 2:
                answers += await system.send_all(["/limited"] * 16)
            seconds = time.monotonic() - began
            kept = flags(system, [name for _, name in answers]).count("01")
            assert len(answers) > 100
            assert 0.8 * (10 + 20 * (seconds - 0.5)) <= kept <= 10 + 20 * seconds
            counted = 'extproc_decisions_total{policy="limited",reason="policy",sampled="%s"}'
            await system.wait_for_metric(counted % "true", kept)
            await system.wait_for_metric(counted % "false", len(answers) - kept)
            assert 20 == await system.metric('extproc_policy_rate{policy="limited"}')
            view = await asyncio.to_thread(system.server.policy_view)
            expected = {"policy": "rate_limited", "traces_per_second": 20, "burst": 10, "parent": "respect"}
            assert expected == view["policies"][0]["sampling"]

            async with asyncio.timeout(10):
                effective = 'extproc_policy_effective_ratio{policy="limited"}'
                while not (share := await system.metric(effective)):  # noqa: ASYNC110  it is in another process
                    await asyncio.sleep(0.05)
            assert 0 < share < 0.5

    asyncio.run(check())


def test_reservoir_keeps_the_first_and_a_share(tmp_path: Path) -> None:
    """Beyond the first of each second, what the upstream saw sampled is exactly what reaches the threshold."""

    async def check() -> None:
        async with running(tmp_path, LIMITED) as system:
            began = time.monotonic()
            answers = await system.send_all(["/reserved"] * 200)
            seconds = time.monotonic() - began
            traces = [system.upstream_trace(name) for _, name in answers]
            dropped = [trace_id for trace_id, told in traces if told == "00"]
            first = [trace_id for trace_id, told in traces if told == "01" and int(trace_id[-14:], 16) < QUARTER]
            assert [] == [trace_id for trace_id in dropped if int(trace_id[-14:], 16) >= QUARTER]
            assert 1 <= len(first) <= 5 * (seconds + 2)

    asyncio.run(check())


def test_adaptive_is_true_to_its_threshold(tmp_path: Path) -> None:
    """Far more comes than the target: the ratio falls, and each span says the one by which it was kept."""
    policy = "tracing: {sampling: {policy: adaptive, target_traces_per_second: 2, key: [path], update_interval: 2s}}"

    async def check() -> None:
        async with running(tmp_path, policy) as system:
            answers = await system.send_all(["/a", "/b"] * 150)
            traces = [system.upstream_trace(name) for _, name in answers]
            kept = {trace_id for trace_id, told in traces if told == "01"}
            spans = await system.wait_for_spans(kept)
            assert kept == set(spans)
            chances = {name: float(str(system.tags(spans[name])["sampling.probability"])) for name in kept}
            assert [] == [name for name in kept if int(name[-14:], 16) < round((1 - chances[name]) * 2**56)]
            assert 1.0 in chances.values()
            assert min(chances.values()) < 0.5
            assert len(kept) < 100
            assert 2 == await system.metric('extproc_policy_rate{policy="default"}')

    asyncio.run(check())


def test_a_policy_ends(tmp_path: Path) -> None:
    """From `until` on the policy matches nothing, without a reload."""
    until = (datetime.now(UTC) + timedelta(seconds=8)).isoformat()
    policy = f"""
tracing:
  sampling: {{policy: always_off}}
  policies: [{{name: brief, match: {{path: /x}}, sampling: {{policy: always_on}}, until: "{until}"}}]
"""

    async def check() -> None:
        async with running(tmp_path, policy) as system:
            _, first = await system.send("/x")
            assert "01" == system.upstream_trace(first)[1]
            async with asyncio.timeout(20):
                while True:
                    _, name = await system.send("/x")
                    if system.upstream_trace(name)[1] == "00":
                        break
                    await asyncio.sleep(0.05)
            assert datetime.now(UTC) >= datetime.fromisoformat(until)
            assert until == (await asyncio.to_thread(system.server.policy_view))["policies"][0]["until"]

    asyncio.run(check())


TRIED = """
tracing:
  sampling: {policy: always_on}
  policies:
    - name: trial
      match: {path: /x}
      sampling: {policy: always_off}
      dry_run: true
"""


def test_a_dry_run_is_told_and_not_done(tmp_path: Path) -> None:
    """Traces are kept as without it; its decisions are on the spans and in metrics of their own."""

    async def check() -> None:
        async with running(tmp_path, TRIED) as system:
            answers = await system.send_all(["/x"] * 5 + ["/y"] * 3)
            assert {"01"} == set(flags(system, [name for _, name in answers]))
            names = [system.upstream_trace(name)[0] for _, name in answers]
            spans = await system.wait_for_spans(set(names))
            tags = [system.tags(spans[name]) for name in names]
            found = [(tag.get("sampling.dry_run"), tag.get("sampling.dry_run.sampled")) for tag in tags]
            assert [("trial", "false")] * 5 == found[:5]
            assert {"default"} == {tag["sampling.reason"] for tag in tags}
            await system.wait_for_metric('extproc_policy_dry_run_total{policy="trial",sampled="false"}', 5)
            await system.wait_for_metric('extproc_decisions_total{policy="default",reason="default",sampled="true"}', 8)
            view = await asyncio.to_thread(system.server.policy_view)
            assert {"sampled": 0, "not_sampled": 5} == view["policies"][0]["dry_run"]

    asyncio.run(check())


BOOSTED = """
tracing:
  sampling: {policy: always_off}
  policies:
    - name: watched
      match: {path: "/status/*"}
      sampling: {policy: always_off}
      boost: {when: {status: 5xx, above: 50%}, for: 5m}
"""


@pytest.mark.parametrize("timings", ["stream", "access-log"])
def test_failures_raise_the_ratio(tmp_path: Path, timings: str) -> None:
    """Nothing is kept until enough responses have failed, and then everything, whoever times requests."""

    async def check() -> None:
        async with running(tmp_path, BOOSTED, wiring=("--timings", timings)) as system:
            answers = await system.send_all(["/status/200"] * 20)
            assert {"00"} == set(flags(system, [name for _, name in answers]))
            await system.send_all(["/status/503"] * 40)
            await system.wait_for_metric('extproc_policy_boosts_total{policy="watched"}', 1)
            answers = await system.send_all(["/status/200"] * 20)
            assert {"01"} == set(flags(system, [name for _, name in answers]))
            view = (await asyncio.to_thread(system.server.policy_view))["policies"][0]["boost"]
            assert ("500-599", "50%", 1) == (view["when"]["status"], view["when"]["above"], view["begun"])

    asyncio.run(check())
