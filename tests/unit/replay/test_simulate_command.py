"""`extproc simulate`: what it adds up, compares, warns of, and how it ends."""

import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from rich.console import Console

from extproc.cli import main
from extproc.engine.sample import keeps
from extproc.engine.tracecontext import randomness
from extproc.policy.load import load_text
from extproc.replay.lines import Logs
from extproc.replay.progress import watched
from extproc.replay.reading import Reading

LOGS = Path(__file__).parents[2] / "data" / "access_logs"
POLICY = """
tracing:
  sampling: {policy: always_off}
  policies:
    - name: half
      match: {path: "/half/{id}"}
      sampling: {policy: probabilistic, ratio: 0.5}
    - name: gold
      match: {headers: {x-tier: gold}, service: user-service}
      sampling: {policy: always_on}
"""
NONE = {"matched": 0, "share": None, "kept": 0, "ratio": None, "parents": 0, "spans_per_second": None, "dry_run": False}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the command runs, with the policy of the recorded logs."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "policy.yaml").write_text(POLICY)
    return tmp_path


def simulate(*arguments: str, stdin: bytes = b"") -> Result:
    """Run the command."""
    return CliRunner().invoke(main, ["simulate", *arguments], input=stdin)


def data(*arguments: str, stdin: bytes = b"") -> dict[str, Any]:
    """What it says as JSON, which is all that is on stdout."""
    result = simulate(*arguments, "--format", "json", stdin=stdin)
    assert 0 == result.exit_code, result.output
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def figures(rows: list[dict[str, Any]]) -> dict[str, tuple[int, int, int]]:
    """Matched, kept and decided by callers, by policy."""
    return {row["name"]: (row["matched"], row["kept"], row["parents"]) for row in rows}


def test_the_recorded_log() -> None:
    """The figures are those that the server's metrics showed when a real Envoy wrote this log."""
    found = data("policy.yaml", str(LOGS / "json.log"))
    assert {"half": (5, 3, 2), "gold": (1, 1, 0)} == figures(found["policies"])
    assert {"default": (1, 0, 0), "all": (7, 4, 2)} == figures([found["unmatched"], found["total"]])
    assert (5 / 7, 3 / 5) == (found["policies"][0]["share"], found["policies"][0]["ratio"])
    assert 1 / 7 == found["unmatched"]["share"]
    log = found["log"]
    assert ("2026-11-22T18:35:21.236Z", "2026-11-22T18:35:21.253Z") == (log["from"], log["to"])
    assert pytest.approx(0.017, abs=1e-6) == log["seconds"]
    assert pytest.approx(3 / 0.017, rel=1e-3) == found["policies"][0]["spans_per_second"]
    assert (8, 0, None, 7, 1, 0) == tuple(
        log[key] for key in ("lines", "bad", "first_bad", "requests", "skipped", "trace_ids_drawn")
    )
    assert [] == found["unseen"]
    assert found["against"] is None


def test_text() -> None:
    """The table has a line for each policy, for what none matches, and for all."""
    result = simulate("policy.yaml", str(LOGS / "json.log"))
    assert (0, "") == (result.exit_code, result.stderr)
    summary, *lines = (" ".join(line.split()) for line in result.stdout.splitlines() if line.strip(" ─"))
    assert "7 requests in 0.017 s, from 2026-11-22 18:35:21 UTC" == summary
    assert [
        "policy matched share kept ratio by callers spans/s",
        "half 5 71.4% 3 60.0% 2 176",
        "gold 1 14.3% 1 100.0% 0 58.8",
        "default (no policy) 1 14.3% 0 0.0% 0 0",
        "all 7 100.0% 4 57.1% 2 235",
    ] == lines


def test_what_the_log_does_not_have() -> None:
    """A text log has neither services nor headers: the policies that ask for them are named, for they cannot match."""
    found = simulate("policy.yaml", str(LOGS / "text.log"))
    assert (
        "warning: the log does not have the header x-tier, which gold asks for\n"
        "warning: the log does not have the service, which gold asks for\n"
    ) == found.stderr
    assert "7 without a trace id of their own" in found.stdout
    assert [
        {"input": "the header x-tier", "policies": ["gold"]},
        {"input": "the service", "policies": ["gold"]},
    ] == data("policy.yaml", str(LOGS / "text.log"))["unseen"]


def test_conditions_of_not_count_as_asked_for(folder: Path) -> None:
    """A policy asks for what its `not` names, too."""
    (folder / "not.yaml").write_text('tracing: {policies: [{match: {not: {host: "a", headers: {x-b: c}}}}]}')
    found = data("not.yaml", "-", stdin=b'{"method": "GET", "path": "/"}')
    assert ["the header x-b", "the host"] == [each["input"] for each in found["unseen"]]


def test_every_request_is_decided_as_the_engine_does(folder: Path) -> None:
    """Over thousands of drawn traces, those are kept whose R is not below T, and a second run says the same."""
    lines = [f'{{"method": "GET", "path": "/half/{number}"}}' for number in range(3000)]
    (folder / "a.log").write_text("\n".join(lines))
    plan = load_text(POLICY.encode(), "policy.yaml", {})
    reading = Reading()
    sampler = plan.policies[0].sampler
    expected = sum(keeps(sampler, randomness(each.trace_id, None)) for each in reading.entries(Logs(["a.log"])))
    assert [expected] * 2 == [data("policy.yaml", "a.log")["policies"][0]["kept"] for _ in range(2)]
    assert abs(expected - 1500) < 140  # five standard deviations


def test_against() -> None:
    """Two policies are compared request by request: which ones go elsewhere, and which traces come and go."""
    other = POLICY.replace("0.5", "0").replace("name: gold", "name: silver").replace("always_off", "always_on")
    Path("other.yaml").write_text(other)
    found = data("policy.yaml", str(LOGS / "json.log"), "--against", "other.yaml")
    against = found["against"]
    assert {"half": (5, 3, 2), "gold": (1, 1, 0)} == figures(found["policies"])
    assert {"half": (5, 1, 2), "silver": (1, 1, 0)} == figures(against["policies"])
    assert {"default": (1, 1, 0), "all": (7, 3, 2)} == figures([against["unmatched"], against["total"]])
    assert ("other.yaml", {"requests": 4, "gained": 2, "lost": 1}) == (against["policy"], against["changed"])
    assert [
        {"from": "half", "to": "half", "requests": 2, "gained": 2, "lost": 0},
        {"from": "silver", "to": "gold", "requests": 1, "gained": 0, "lost": 0},
        {"from": "default", "to": "default", "requests": 1, "gained": 0, "lost": 1},
    ] == against["changes"]
    text = simulate("policy.yaml", str(LOGS / "json.log"), "--against", "other.yaml").stdout
    lines = [" ".join(line.split()) for line in text.splitlines()]
    for line in (
        "Against other.yaml: before → after",
        "half 5 1 → 3 58.8 → 176",
        "silver 1 → – 1 → – 58.8 → –",
        "gold – → 1 – → 1 – → 58.8",
        "default (no policy) 1 1 → 0 58.8 → 0",
        "all 7 3 → 4 176 → 235",
        "4 requests changed: 2 newly kept, 1 no longer",
        "silver 1 0 0 gold",
    ):
        assert line in lines


def test_against_the_same() -> None:
    """A policy against itself changes nothing."""
    result = simulate("policy.yaml", str(LOGS / "json.log"), "--against", "policy.yaml")
    assert "0 requests changed: 0 newly kept, 0 no longer" in result.stdout
    assert "→" not in result.stdout.replace("before → after", "")


def test_many_changes(folder: Path) -> None:
    """The text has the changes of most requests; JSON has all."""
    policies = "".join(f"  - {{name: p{each}, match: {{path: /{each}}}}}\n" for each in range(30))
    (folder / "many.yaml").write_text(f"tracing:\n  policies:\n{policies}")
    lines = "\n".join(f'{{"method": "GET", "path": "/{each}"}}' for each in [*range(30), 29])
    arguments = ("many.yaml", "-", "--against", "policy.yaml")
    text = simulate(*arguments, stdin=lines.encode()).stdout
    assert "and 10 more: --format json has all" in text
    assert "default (no policy) 2 2 0 p29" == " ".join(text.partition("no longer   after")[2].splitlines()[2].split())
    assert 30 == len(data(*arguments, stdin=lines.encode())["against"]["changes"])


def test_bad_lines() -> None:
    """Bad lines are counted, the first is named, and the rest counts."""
    good = b'{"method": "GET", "path": "/half/1"}'
    result = simulate("policy.yaml", "-", stdin=b"one\n\n" + good + b"\ntwo\n")
    assert 0 == result.exit_code
    expected = "expected an access log in Envoy's default format, as JSON lines or as OTLP JSON lines, got 'one'"
    assert (
        f"warning: 2 of 3 lines left out; the first: <stdin>:1: {expected}; try one of these formats\n" in result.stderr
    )
    log = data("policy.yaml", "-", stdin=b"one\n\n" + good + b"\ntwo\n")["log"]
    assert (3, 2, 1) == (log["lines"], log["bad"], log["requests"])
    assert ("<stdin>", 1) == (log["first_bad"]["file"], log["first_bad"]["line"])


def test_nothing_but_bad_lines() -> None:
    """A file that is no access log at all is a failure."""
    result = simulate("policy.yaml", "policy.yaml")
    assert 1 == result.exit_code
    assert "warning: 9 of 9 lines left out; the first: policy.yaml:2: expected an access log" in result.stderr


def test_nothing_at_all() -> None:
    """An empty log is none: every figure is zero or unknown."""
    found = data("policy.yaml", "-")
    assert [{"name": "half"} | NONE, {"name": "gold"} | NONE] == found["policies"]
    assert "0 requests at unknown times" in simulate("policy.yaml", "-").stdout


def test_one_moment() -> None:
    """Requests of one moment have no rate, rather than an endless one."""
    line = b'{"method": "GET", "path": "/half/1", "start_time": "2026-03-01T12:00:00Z"}\n'
    assert None is data("policy.yaml", "-", stdin=line * 3)["total"]["spans_per_second"]


def test_times_out_of_order() -> None:
    """The time that a log covers is from its earliest to its latest request, wherever they stand."""
    lines = [b'{"method": "GET", "path": "/half/1", "start_time": %d}' % second for second in (50, 0, 100, 20)]
    log = data("policy.yaml", "-", stdin=b"\n".join(lines))["log"]
    assert (100.0, "1970-01-01T00:00:00.000Z") == (log["seconds"], log["from"])


def at(*seconds: float, path: str = "/a") -> bytes:
    """A log of requests at these times."""
    lines = [json.dumps({"method": "GET", "path": path, "start_time": second}) for second in seconds]
    return "\n".join(lines).encode()


def test_the_clock_is_the_logs(folder: Path) -> None:
    """Samplers that count per second go by the log's times, which never go back for them."""
    (folder / "rate.yaml").write_text("tracing: {sampling: {policy: rate_limited, traces_per_second: 1, burst: 1}}")
    for times, kept in (((100, 100.5, 100.9), 1), ((100, 101, 102), 3), ((100, 50, 51, 99, 101), 2)):
        assert kept == data("rate.yaml", "-", stdin=at(*times))["total"]["kept"]


def test_a_clock_that_the_log_does_not_have(folder: Path) -> None:
    """A log without times says that a sampler which counts per second is not served by it."""
    (folder / "rate.yaml").write_text("tracing: {sampling: {policy: rate_limited, traces_per_second: 1, burst: 1}}")
    result = simulate("rate.yaml", "-", stdin=b'{"method": "GET", "path": "/"}')
    assert "warning: the log does not have the time, which default asks for\n" == result.stderr


def test_policies_end_in_the_log(folder: Path) -> None:
    """A policy takes what came before its `until`, and the next one what came after."""
    (folder / "until.yaml").write_text("""
tracing:
  policies:
    - {name: first, match: {path: /a}, until: "1970-01-01T00:01:40Z"}
    - {name: second, match: {path: /a}, until: "1970-01-01T00:02:00Z"}
    - {name: third, match: {path: /a}}
""")
    found = data("until.yaml", "-", stdin=at(98, 99, 100, 101, 119.9, 120))
    assert {"first": (2, 2, 0), "second": (3, 3, 0), "third": (1, 1, 0)} == figures(found["policies"])


def test_samplers_go_on_when_a_policy_ends(folder: Path) -> None:
    """The end of one policy does not fill the buckets of the others."""
    (folder / "until.yaml").write_text("""
tracing:
  sampling: {policy: rate_limited, traces_per_second: 0.001, burst: 1}
  policies: [{name: first, match: {path: /b}, until: "1970-01-01T00:01:40Z"}]
""")
    assert 1 == data("until.yaml", "-", stdin=at(99, 101))["total"]["kept"]


def test_failures_in_the_log_boost_a_policy(folder: Path) -> None:
    """Statuses of the log raise a policy's ratio for as long as they would have; a line out of order is no way back."""
    (folder / "boost.yaml").write_text("""
tracing:
  sampling: {policy: always_off}
  policies:
    - name: a
      match: {path: /a}
      sampling: {ratio: 0}
      boost: {when: {status: ">=500", above: 5%, window: 30s}, ratio: 1.0, for: 60s, cooldown: 5m}
""")
    lines = [
        json.dumps({"method": "GET", "path": "/a", "start_time": 1000 + second, "response_code": status})
        for second, status in [
            *((each, 503) for each in range(10)),
            (50, 200),
            (68, 200),
            (70, 200),
            (100, 200),
            (60, 200),
        ]
    ]
    found = data("boost.yaml", "-", stdin="\n".join(lines).encode())
    assert {"a": (15, 2, 0)} == figures(found["policies"])
    assert [] == found["unseen"]
    text = "".join(
        f'[1970-01-01T00:00:{each:02}Z] "GET /a HTTP/1.1" 503 - 0 0 0 0 "-" "-" "-" "h" "-"\n' for each in range(12)
    )
    assert {"a": (12, 2, 0)} == figures(data("boost.yaml", "-", stdin=text.encode())["policies"])
    without = [line.replace("response_code", "x") for line in lines]
    found = data("boost.yaml", "-", stdin="\n".join(without).encode())
    assert {"a": (15, 0, 0)} == figures(found["policies"])
    assert [{"input": "the status", "policies": ["a"]}] == found["unseen"]


def test_a_target_is_met_on_the_logs_clock(folder: Path) -> None:
    """An adaptive sampler comes to its target within the log, by the log's times."""
    (folder / "target.yaml").write_text(
        "tracing: {sampling: {policy: adaptive, target_traces_per_second: 2, update_interval: 10s}}"
    )
    times = (second + each / 50 for second in range(300) for each in range(50))
    found = data("target.yaml", "-", stdin=at(*times))
    assert abs(found["total"]["spans_per_second"] - 2) < 0.5
    assert [] == found["unseen"]


def test_the_load_of_the_cpu_is_in_no_log(folder: Path) -> None:
    """An adaptive sampler that goes by the CPU stays at its base, and the command says so."""
    (folder / "cpu.yaml").write_text(
        "tracing: {sampling: {policy: adaptive, base_ratio: 1, min_ratio: 0.1, max_ratio: 1}}"
    )
    found = data("cpu.yaml", "-", stdin=at(*range(100)))
    assert 100 == found["total"]["kept"]
    assert [{"input": "the load of the CPU", "policies": ["default"]}] == found["unseen"]


def test_dry_runs(folder: Path) -> None:
    """A dry run shows what it would have decided on, and counts in no total."""
    (folder / "dry.yaml").write_text("""
tracing:
  sampling: {policy: always_off}
  policies: [{name: tried, match: {path: /a}, sampling: {policy: always_on}, dry_run: true}]
""")
    found = data("dry.yaml", "-", stdin=at(1, 2, 3))
    assert {"tried": (3, 3, 0)} == figures(found["policies"])
    assert {"default": (3, 0, 0), "all": (3, 0, 0)} == figures([found["unmatched"], found["total"]])
    assert [True, False, False] == [row["dry_run"] for row in (*found["policies"], found["unmatched"], found["total"])]
    assert "tried (dry run)" in simulate("dry.yaml", "-", stdin=at(1)).stdout


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("policy.yaml",), 2, "Missing argument 'LOG...'"),
        (("policy.yaml", "no.log"), 1, "no.log: no such file or directory"),
        (("policy.yaml", "."), 1, ".: it is a folder"),
        (("no.yaml", "policy.yaml"), 1, "no.yaml:1:1: tracing: expected a file that can be read"),
        (("policy.yaml", "policy.yaml", "--against", "no.yaml"), 1, "no.yaml:1:1: tracing: expected a file"),
        (("policy.yaml", "policy.yaml", "--format", "xml"), 2, "Invalid value for '--format'"),
    ],
)
def test_failures(arguments: tuple[str, ...], code: int, message: str) -> None:
    """What cannot be done is said on standard error."""
    result = simulate(*arguments)
    assert (code, "") == (result.exit_code, result.stdout)
    assert message in result.stderr


def test_a_bar_on_a_terminal(folder: Path) -> None:
    """On a terminal there is a bar that counts bytes; elsewhere there is nothing."""
    (folder / "a.log").write_bytes(b"x\n" * 5000)
    for terminal in (True, False):
        written = io.StringIO()
        console = Console(file=written, force_terminal=terminal, width=100)
        assert 5000 == sum(1 for _ in watched(Logs(["a.log"]), console))
        assert terminal == ("replaying" in written.getvalue())
        assert terminal == ("/10.0 kB" in written.getvalue())


def test_names_that_the_terminal_cannot_say(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A policy's name that the output's encoding does not have is spelled out."""
    (folder / "p.yaml").write_text('tracing: {policies: [{name: "東京", match: {path: /a}}]}', "utf-8")
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="ascii", write_through=True))
    main(["simulate", "p.yaml", str(LOGS / "text.log")], standalone_mode=False)
    assert rb"\u6771\u4eac" in written.getvalue()
