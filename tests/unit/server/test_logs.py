"""The form of log lines."""

import json
import logging
import sys
from collections.abc import Iterator

import pytest
import structlog

from extproc.server import logs


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    """Leave logging as it was found."""
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    yield
    root.handlers, root.level = handlers, level
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


def test_one_json_object_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    """Away from a terminal every line is JSON, ours and the libraries', also with a traceback."""
    logs.configure("info", worker=3)
    logs.get_logger().debug("hidden")
    logs.get_logger().info("shown", answer=42)
    logging.getLogger("some.library").info("hidden")
    try:
        local = "oops"
        int(local)
    except ValueError:
        logging.getLogger("some.library").exception("trouble")
    ours, theirs = map(json.loads, capsys.readouterr().err.splitlines())
    assert ("shown", "info", 42, 3) == (ours["event"], ours["level"], ours["answer"], ours["worker"])
    assert ("trouble", "error", "some.library") == (theirs["event"], theirs["level"], theirs["logger"])
    assert "ValueError" == theirs["exception"][0]["exc_type"]
    assert "locals" not in str(theirs["exception"])


def test_text_on_a_terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A person gets text."""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    logs.configure("info")
    logs.get_logger().info("shown", answer=42)
    (line,) = capsys.readouterr().err.splitlines()
    assert "shown" in line
    assert not line.startswith("{")


def test_same_kind_is_logged_once_a_minute(capsys: pytest.CaptureFixture[str]) -> None:
    """A flood becomes one line a minute that says how many it stands for."""
    logs.configure("info")
    now = 0.0
    log = logs.RateLimitedLog(lambda: now)
    for _ in range(5):
        log.report("a", "trouble")
    log.report("b", "trouble")
    now = 61.0
    log.report("a", "trouble")
    lines = map(json.loads, capsys.readouterr().err.splitlines())
    assert [("a", 0), ("b", 0), ("a", 4)] == [(line["kind"], line["held_back"]) for line in lines]
