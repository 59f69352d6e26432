"""Structured logs on standard error: text on a terminal, one JSON object a line otherwise.

Nothing is logged per request, and no line holds a header's value: what a client sends never reaches a log.
"""

import logging
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import structlog
from structlog.typing import FilteringBoundLogger, Processor

LEVELS = ("debug", "info", "warning", "error")

_QUIET_SECONDS = 60.0


def configure(level: str, *, worker: int | None = None) -> None:
    """Send this process's logs, ours and the libraries', to standard error.

    Args:
        level: One of `LEVELS`; libraries are held to warnings and worse.
        worker: The worker's number, put on every line of a worker process.
    """
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    minimum = getattr(logging, level.upper())
    structlog.configure(
        processors=[*shared, *_renderers()],
        wrapper_class=structlog.make_filtering_bound_logger(minimum),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
    )
    _adopt_libraries(shared, max(minimum, logging.WARNING))
    structlog.contextvars.clear_contextvars()
    if worker is not None:
        structlog.contextvars.bind_contextvars(worker=worker)


def get_logger() -> FilteringBoundLogger:
    """The logger of this process."""
    logger: FilteringBoundLogger = structlog.get_logger()
    return logger


class RateLimitedLog:
    """Logs the same event at most once a minute per kind, with the number of times it was held back."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._last: dict[str, float] = {}
        self._held: dict[str, int] = {}

    def report(self, kind: str, event: str, **fields: Any) -> None:  # noqa: ANN401  as structlog's own methods
        """Log `event`, unless one of this kind was logged less than a minute ago."""
        now = self._clock()
        if now - self._last.get(kind, -_QUIET_SECONDS) < _QUIET_SECONDS:
            self._held[kind] = self._held.get(kind, 0) + 1
            return
        self._last[kind] = now
        with suppress(OSError):  # a disk that is full must not cost more than the line
            get_logger().warning(event, kind=kind, held_back=self._held.pop(kind, 0), **fields)


def _renderers() -> list[Processor]:
    if sys.stderr.isatty():
        return [structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)]
    # Neither form shows local variables: they may hold what a client sent.
    tracebacks = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
    return [structlog.processors.ExceptionRenderer(tracebacks), structlog.processors.JSONRenderer()]


def _adopt_libraries(shared: list[Processor], level: int) -> None:
    """Print what libraries log through `logging` in the same form as our own lines."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *_renderers()],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
