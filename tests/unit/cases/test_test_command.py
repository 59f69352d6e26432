"""`extproc test`: what passes, how a failure reads, and what CI gets."""

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
import yaml
from click.testing import CliRunner, Result

from extproc.cli import main
from extproc.cli.test import command

CASES = Path(__file__).parents[2] / "data" / "cases"
POLICY = """
tracing:
  sampling: {policy: probabilistic, ratio: 0.1}
  custom_tags: [{tag: user_id, request_header: {name: x-user-id, default_value: unknown}}]
  policies:
    - name: checkout
      match: {path: "/api/orders/{order_id}", method: [POST, PUT], service: order-service}
      sampling: {policy: always_on}
      span_name: checkout
      custom_tags:
        - {tag: order_id, path: order_id}
        - {tag: client, attribute: source.address}
        - {tag: weight, literal: {value: 3}}
        - {tag: region, environment: {name: REGION, default_value: local}}
        - {tag: cache, response_header: {name: x-cache}}
    - name: users
      match: {path: "/api/users/*", host: shop.example.com, query: {page: "*"}}
      sampling: {ratio: 0.25}
    - {name: health, match: {path: /health}, sampling: {policy: always_off}}
    - {name: ended, match: {path: /ended}, until: "2030-06-01T00:00:00Z"}
    - {name: limited, match: {path: /limited}, sampling: {policy: rate_limited, traces_per_second: 1, burst: 1}}
    - {name: tried, match: {path: /dry}, sampling: {policy: always_off}, dry_run: true}
"""
GOOD = """
tests:
  - name: a checkout
    request:
      method: post
      path: /api/orders/7?x=y
      service: order_service
      headers: {X-User-Id: ann}
      attributes: {source.address: "10.0.0.1:4711"}
    exp_policy: checkout
    exp_reason: policy
    exp_sampled: true
    exp_span_name: checkout
    exp_tags: {order_id: "7", user_id: ann, client: "10.0.0.1:4711", weight: 3, region: eu}
  - request: {url: "https://shop.example.com:8443/api/users/42?page=2"}
    exp_policy: users
    exp_tags: {user_id: unknown}
    trace_test:
      - {trace_id: 4bf92f3577b34da6a3ce929d0e0e4736, exp_sampled: true}
      - {trace_id: "4BF92F3577B34DA6A33E929D0E0E4736", exp_sampled: false}
  - request: {path: /health}
    exp_sampled: false
  - request: {path: /elsewhere}
    exp_policy: default
    exp_reason: default
  - request: {path: /health, headers: {traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01}}
    exp_reason: parent
    exp_sampled: true
  - request: {path: /ended}
    exp_policy: ended
  - request: {path: /ended, time: "2030-06-01T00:00:00Z"}
    exp_policy: default
  - name: each request is the first
    request: {path: /limited}
    exp_sampled: true
    trace_test:
      - {trace_id: 4bf92f3577b34da6a3ce929d0e0e4736, exp_sampled: true}
      - {trace_id: 4bf92f3577b34da6a3ce929d0e0e4736, exp_sampled: true}
"""
ORDER = "request: {path: /api/orders/7, service: order-service}"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the command runs."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(os.environ, "REGION", "eu")
    (tmp_path / "policy.yaml").write_text(POLICY)
    return tmp_path


def run(cases: str, *arguments: str) -> Result:
    """Run the tests in a text."""
    Path("cases.yaml").write_text(cases)
    return CliRunner().invoke(main, ["test", "policy.yaml", "cases.yaml", *arguments])


def failure(test: str) -> str:
    """The difference of a test that fails, without its place."""
    result = run(f"tests:\n  - {test}\n")
    assert (1, "0 of 1 tests passed\n") == (result.exit_code, result.stderr), result.output
    place, _, difference = result.stdout.partition("\n")
    assert "cases.yaml:2:5: tests[0]" == place
    return difference


def test_all_pass() -> None:
    """Tests that hold say nothing but how many they are."""
    result = run(GOOD)
    assert (0, "", "8 of 8 tests passed\n") == (result.exit_code, result.stdout, result.stderr)


def test_every_expectation_fails() -> None:
    """A failure has the place of the test, and each expectation with what is there instead."""
    result = run("""
tests:
  - {request: {path: /health}, exp_policy: health}
  - name: all wrong
    request: {path: /api/orders/7, service: order-service, headers: {x-user-id: ann}}
    exp_policy: checkout
    exp_reason: policy
    exp_sampled: true
    exp_span_name: checkout
    exp_tags: {order_id: 7, user_id: bob}
    trace_test: [{trace_id: 4bf92f3577b34da6a33e929d0e0e4736, exp_sampled: true}]
""")
    assert 1 == result.exit_code
    assert "1 of 2 tests passed\n" == result.stderr
    assert (
        """\
cases.yaml:4:5: all wrong
  exp_policy
    - "checkout"
    + "default"
      checkout: method: expected POST or PUT, got 'GET'
  exp_reason
    - "policy"
    + "default"
  exp_span_name
    - "checkout"
    + nothing
  exp_tags
    - order_id: 7
    - user_id: "bob"
    + user_id: "ann"
  exp_sampled
    - true
    + false
      for some traces; trace_test tests those of given ids
  trace_test[0].exp_sampled
    - true
    + false
      trace 4bf92f3577b34da6a33e929d0e0e4736
"""
        == result.stdout
    )


@pytest.mark.parametrize(
    ("expected", "note"),
    [
        ("users", "users: path: expected /api/users/*, got '/api/orders/7'"),
        ("tried", "tried: path: expected /dry, got '/api/orders/7'"),
        ("chekout", "the policy file has no chekout; try checkout"),
        ("ended", "ended: path: expected /ended, got '/api/orders/7'"),
        ("something", "the policy file has no something"),
    ],
)
def test_why_not_this_policy(expected: str, note: str) -> None:
    """Another policy than expected comes with the reason why the expected one does not decide."""
    assert f'  exp_policy\n    - "{expected}"\n    + "default"\n      {note}\n' == failure(
        f"{{{ORDER}, exp_policy: {expected}}}"
    )


def test_why_not_a_later_policy_or_a_dry_run() -> None:
    """So do one that comes too late, one that is only tried, and the default."""
    Path("policy.yaml").write_text("tracing: {policies: [{name: a}, {name: b}, {name: c, dry_run: true}]}")
    for expected, note in (("b", "b: would match too, but comes later"), ("c", "c: is a dry run")):
        assert note in failure(f"{{request: {{path: /a}}, exp_policy: {expected}}}")
    assert '    - "default"\n    + "a"\n' in failure("{request: {path: /a}, exp_policy: default}")


def test_why_not_a_policy_that_has_ended() -> None:
    """So does one that has ended."""
    difference = failure('{request: {path: /ended, time: "2031-01-01T00:00:00Z"}, exp_policy: ended}')
    assert (
        "ended: until: expected a time before 2030-06-01T00:00:00+00:00, got '2031-01-01T00:00:00+00:00'" in difference
    )


def test_trace_ids_that_look_like_numbers() -> None:
    """A trace id needs no quotes, even where YAML sees a number in it."""
    tests = [
        f"{{trace_id: {trace_id}, exp_sampled: {sampled}}}"
        for trace_id, sampled in (
            ("000000000000000001e6666666666666", "true"),
            ("000000000000000001e6666666666665", "false"),
            ("12345678901234567890123456789012", "false"),
        )
    ]
    Path("policy.yaml").write_text("tracing: {sampling: {ratio: 0.1}}")
    cases = f"tests: [{{request: {{path: /a}}, trace_test: [{', '.join(tests)}]}}]"
    assert "1 of 1 tests passed\n" == run(cases).output


def test_differences_of_tags() -> None:
    """Tags are compared all at once: what is the same stands there unmarked."""
    sent = "request: {path: /api/orders/7, method: PUT, service: order-service, headers: {x-user-id: ann}}"
    assert (
        '  exp_tags\n    - new: 1\n    + order_id: "7"\n    + region: "eu"\n      user_id: "ann"\n    + weight: 3.0\n'
        == failure(f"{{{sent}, exp_tags: {{user_id: ann, new: 1}}}}")
    )
    assert '    - user_id: "1"\n    + user_id: "unknown"\n' in failure(
        '{request: {path: /x}, exp_tags: {user_id: "1"}}'
    )


def test_sampled_is_for_every_trace() -> None:
    """exp_sampled holds only if no trace id changes it."""
    for expected, other in (("true", "false"), ("false", "true")):
        assert f"    - {expected}\n    + {other}\n      for some traces" in failure(
            f'{{request: {{url: "http://shop.example.com/api/users/1?page="}}, exp_sampled: {expected}}}'
        )
    assert "  exp_sampled\n    - true\n    + false\n" == failure("{request: {path: /health}, exp_sampled: true}")


def test_no_colours_in_a_file() -> None:
    """Elsewhere than on a terminal there are no escape sequences."""
    assert "\x1b" not in run("tests: [{request: {path: /health}, exp_sampled: true}]").output


def test_junit(folder: Path) -> None:
    """CI gets a suite for each file, and each failure with its difference."""
    (folder / "other.yaml").write_text("tests: [{name: 'a < b', request: {path: /health}, exp_policy: health}]")
    cases = f"tests:\n  - {{{ORDER}, exp_policy: checkout}}\n  - {{name: fine, {ORDER}, exp_policy: default}}\n"
    result = run(cases, "other.yaml", "other.yaml", "--junit", "report.xml")
    assert (1, "2 of 3 tests passed\n") == (result.exit_code, result.stderr)
    root = ET.parse("report.xml").getroot()  # noqa: S314  our own
    suites = [(suite.get("name"), suite.get("tests"), suite.get("failures")) for suite in root]
    assert [("cases.yaml", "2", "1"), ("other.yaml", "1", "0")] == suites
    found = [(case.get("classname"), case.get("name"), len(case)) for case in root.iter("testcase")]
    assert [("policy.yaml", "tests[0]", 1), ("policy.yaml", "fine", 0), ("policy.yaml", "a < b", 0)] == found
    (failed,) = root.iter("failure")
    assert "cases.yaml:2: exp_policy" == failed.get("message")
    assert (
        'exp_policy\n  - "checkout"\n  + "default"\n    checkout: method: expected POST or PUT, got \'GET\''
        == failed.text
    )


def test_junit_that_cannot_be_written() -> None:
    """A report that cannot be written is a failure, after what there is to say."""
    result = run(f"tests: [{{{ORDER}, exp_policy: checkout}}]", "--junit", "no/such/folder.xml")
    assert 1 == result.exit_code
    assert "no/such/folder.xml: No such file or directory" in result.stderr
    assert "exp_policy" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("policy.yaml",), 2, "Missing argument 'CASES...'"),
        (("cases.yaml", "cases.yaml"), 1, "cases.yaml:1:1: tests: expected tracing, got 'tests'"),
        (("no.yaml", "cases.yaml"), 1, "no.yaml:1:1: tracing: expected a file that can be read"),
    ],
)
def test_usage(folder: Path, arguments: tuple[str, ...], code: int, message: str) -> None:
    """A command line that is wrong is one thing, a policy that is wrong another."""
    (folder / "cases.yaml").write_text("tests: [{request: {path: /a}, exp_policy: a}]")
    result = CliRunner().invoke(main, ["test", *arguments])
    assert (code, "") == (result.exit_code, result.stdout)
    assert message in result.stderr


def test_the_example_of_the_help_runs() -> None:
    """What --help shows is a case file."""
    text = (command.help or "").partition("CASES is YAML:\n")[2].partition("\n\n")[0]
    Path("policy.yaml").write_text("""
tracing:
  custom_tags: [{tag: user_id, request_header: {name: x-user-id}}]
  policies:
    - {name: checkout, match: {path: "/api/orders/{order_id}"}, custom_tags: [{tag: order_id, path: order_id}]}
    - {match: {path: "/api/users/*"}, sampling: {ratio: 0.25}}
""")
    assert "2 of 2 tests passed\n" == run(text).output


def engine_cases() -> list[Any]:
    """The cases that every engine has to pass, as far as a case file can say them."""
    found = []
    for path in sorted(CASES.glob("*.yaml")):
        document = yaml.safe_load(path.read_text())
        for case in document["cases"]:
            headers = case["request"].get("headers", {})
            sayable = "metadata" not in case["request"] and "response" not in case
            if (
                sayable
                and case["request"].get("path", "/x")
                and not any(isinstance(each, list) for each in headers.values())
            ):
                found.append(pytest.param(document, case, id=f"{path.stem}: {case['name']}"))
    return found


@pytest.mark.parametrize(("document", "case"), engine_cases())
def test_tests_agree_with_the_engine(
    document: dict[str, Any], case: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the engine's own cases expect passes as a test, and the opposite fails."""
    for name, value in document.get("environment", {}).items():
        monkeypatch.setitem(os.environ, name, value)
    Path("policy.yaml").write_text(yaml.safe_dump(document["policy"], sort_keys=False))
    request, expect = case["request"], case["expect"]
    headers = {"host": request.get("host", "localhost")} | request.get("headers", {})
    sent = {
        "path": request.get("path", "/x").partition("#")[0],
        "method": request.get("method", "GET"),
        "service": request.get("service", "a-service"),
        "headers": headers,
        "attributes": request.get("attributes", {}),
    }
    if "unix_seconds" in document:
        sent["time"] = datetime.fromtimestamp(document["unix_seconds"], UTC).isoformat()
    test: dict[str, Any] = {"request": sent, "exp_policy": expect["policy"]}
    opposite: dict[str, Any] = {"request": sent, "exp_policy": expect["policy"] + "x"}
    if "reason" in expect:
        test["exp_reason"] = expect["reason"]
    if "sampled" in expect and "traceparent" not in headers:
        trace_id = request.get("trace_id", "0af7651916cd43dd8448eb211c80319c")
        test["trace_test"] = [{"trace_id": trace_id, "exp_sampled": expect["sampled"]}]
        opposite = {"request": sent, "trace_test": [{"trace_id": trace_id, "exp_sampled": not expect["sampled"]}]}
    if "tags" in expect:
        test["exp_tags"] = expect["tags"]
    assert "1 of 1 tests passed\n" == run(yaml.safe_dump({"tests": [test]})).output
    assert 1 == run(yaml.safe_dump({"tests": [opposite]})).exit_code
