"""What load and load_text promise of every input."""

import hashlib
import pickle
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extproc.policy.codes import UNREADABLE
from extproc.policy.load import load, load_text
from extproc.policy.problems import PolicyError, Problem
from extproc.policy.source import LARGEST_BYTES

ROOT = Path(__file__).parents[3]
COMPLETE = (ROOT / "policies" / "complete.yaml").read_bytes()
CONFIGMAP = (ROOT / "tests" / "data" / "guide" / "envoy-tracing-policy.configmap.yaml").read_bytes()
FRAGMENTS = [
    b"&a ",
    b"*a",
    b"<<: ",
    b"!x ",
    b"[",
    b"}",
    b"- ",
    b"? ",
    b": ",
    b"\n",
    b"'",
    b'"',
    b"|\n",
    b"~",
    b"---\n",
    b"\t",
]


def check(text: bytes) -> None:
    """Whatever the text, there is a Plan or there are problems, each of them one line."""
    problems: tuple[Problem, ...] | None = None
    try:
        load_text(text, "policy.yaml", {})
    except PolicyError as error:
        problems = error.problems
    if problems is not None:
        assert problems
        assert len(problems) == len(str(PolicyError(problems)).splitlines())
        assert sorted(problems, key=lambda item: (item.line, item.column)) == list(problems)
        assert all(problem.line > 0 and problem.column > 0 for problem in problems)
        assert all(", got " in problem.message and "; try " in problem.message for problem in problems)


@given(st.binary(max_size=200))
@settings(deadline=None)
def test_any_bytes_are_a_plan_or_problems(text: bytes) -> None:
    """No bytes at all raise anything but PolicyError."""
    check(text)


@given(st.text(max_size=200))
@settings(deadline=None)
def test_any_text_below_tracing_is_a_plan_or_problems(text: str) -> None:
    """Nor does any text in the place of a value."""
    check(b"tracing:\n  sampling: " + text.encode(errors="replace"))


@given(
    st.sampled_from([COMPLETE, CONFIGMAP]),
    st.lists(
        st.tuples(
            st.integers(0, len(COMPLETE)), st.integers(0, 12), st.sampled_from(FRAGMENTS) | st.binary(max_size=3)
        ),
        min_size=1,
        max_size=4,
    ),
)
@settings(deadline=None, max_examples=200)
def test_damaged_file_is_a_plan_or_problems(text: bytes, edits: list[tuple[int, int, bytes]]) -> None:
    """Nor does a good file after a few edits."""
    for position, length, replacement in edits:
        at = position % len(text)
        text = text[:at] + replacement + text[at + length :]
    check(text)


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
_KEYS = [
    "path",
    "tag",
    "match",
    "not",
    "headers",
    "sampling",
    "policies",
    "custom_tags",
    "name",
    "regex",
    "literal",
    "spans",
    "keep",
]


@given(st.sampled_from(_KEYS), _VALUES)
@settings(deadline=None, max_examples=200)
def test_any_value_in_any_place_is_a_plan_or_problems(key: str, value: object) -> None:
    """Nor does a value of any kind where another is expected."""
    text = COMPLETE.decode()
    at = text.index(f"{key}:") + len(key) + 1
    check(f"{text[:at]} {_flow(value)}\n".encode(errors="replace"))
    for parent in (
        "tracing: {%s}",
        "tracing: {policies: [{match: {%s}}]}",
        "tracing: {custom_tags: [{%s}]}",
        "tracing: {spans: {mode: emit}, policies: [{keep: {%s}}]}",
    ):
        check((parent % f"{key}: {_flow(value)}").encode(errors="replace"))


def _flow(value: object) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_flow(key)}: {_flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_flow, value)) + "]"
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    return "~" if value is None else str(value).lower()


@pytest.mark.parametrize("text", [b"[" * 200_000, b"{" * 200_000, b"- " * 200_000, b"? " * 200_000])
def test_endless_nesting_is_refused(text: bytes) -> None:
    """Nesting that would overflow the stack is a problem like any other."""
    with pytest.raises(PolicyError, match="expected at most 64 levels"):
        load_text(text, "policy.yaml", {})


def test_nesting_by_aliases_is_survived() -> None:
    """Aliases nest deeper than brackets may; a null at the bottom is still looked for."""
    lines = [f"a0: &a0 {'{k: ' * 60}~{'}' * 60}"]
    lines += [f"a{i}: &a{i} {'{k: ' * 60}*a{i - 1}{'}' * 60}" for i in range(1, 50)]

    check("\n".join([*lines, "tracing: *a49"]).encode())


def test_file_that_is_too_large_is_refused() -> None:
    """A size that no policy has ends the reading before it begins."""
    with pytest.raises(PolicyError) as error:
        load_text(b"#" * (LARGEST_BYTES + 1), "policy.yaml", {})

    expected = (
        "policy.yaml:1:1: tracing: expected a file of at most 16 MiB, got more; try fewer policies with wider globs"
    )
    assert expected == str(error.value)


def test_missing_file_is_a_problem(tmp_path: Path) -> None:
    """A file that is not there is said to be missing, in one line."""
    path = tmp_path / "none.yaml"

    with pytest.raises(PolicyError) as error:
        load(path)

    message = "expected a file that can be read, got 'no such file or directory'; try another path or its permissions"
    assert (Problem(str(path), 1, 1, "tracing", message, UNREADABLE),) == error.value.problems


def test_directory_is_a_problem(tmp_path: Path) -> None:
    """A directory is no policy file."""
    with pytest.raises(PolicyError, match="got 'is a directory'"):
        load(tmp_path)


def test_impossible_path_is_a_problem() -> None:
    """Not even a path that no system can open raises anything else."""
    with pytest.raises(PolicyError, match="expected a file that can be read"):
        load(Path("a\0b"))


def test_plan_knows_its_file() -> None:
    """The digest is that of the bytes that were read, so two plans of one file are equal."""
    first, second = (load_text(CONFIGMAP, name, {}) for name in ("a", "b"))

    assert hashlib.sha256(CONFIGMAP).hexdigest() == first.digest
    assert first == second


def test_plan_and_problems_can_be_sent_to_a_worker() -> None:
    """Both survive pickling."""
    plan = load_text(COMPLETE, "policy.yaml", {})
    with pytest.raises(PolicyError) as error:
        load_text(b"", "policy.yaml", {})

    assert plan == pickle.loads(pickle.dumps(plan))  # noqa: S301  our own bytes
    assert error.value.problems == pickle.loads(pickle.dumps(error.value)).problems  # noqa: S301
