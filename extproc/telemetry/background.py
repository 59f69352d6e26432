"""Blocking work beside the event loop, and how its failures are told."""

import asyncio
import math
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final, TypeVar

import structlog

_Result = TypeVar("_Result")
_QUIET_SECONDS: Final = 60.0


def in_thread(work: Callable[[], _Result], name: str) -> asyncio.Future[_Result]:
    """Run blocking `work`, which raises nothing, on a daemon thread of this name.

    Not an executor: those are waited for when the interpreter exits.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[_Result] = loop.create_future()

    def settle(result: _Result) -> None:
        if not future.done():
            future.set_result(result)

    def body() -> None:
        result = work()
        with suppress(RuntimeError):  # the loop was closed before the work was done
            loop.call_soon_threadsafe(settle, result)

    threading.Thread(target=body, name=name, daemon=True).start()
    return future


class Reporter:
    """Log lines about deliveries: failures at most once a minute, and that they are over once.

    Args:
        what: What is delivered, as the lines begin.
        clock: Monotonic seconds.
    """

    def __init__(self, what: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._what = what
        self._clock = clock
        self._failed_at = -math.inf
        self._failing = False

    def failed(self, reason: str | None, **counts: int) -> None:
        """Say that a delivery failed, unless that was said less than a minute ago."""
        now = self._clock()
        if now - self._failed_at >= _QUIET_SECONDS:
            self._failed_at = now
            self._failing = True
            structlog.get_logger().warning(f"{self._what} not delivered", **counts, reason=reason)

    def delivered(self) -> None:
        """Say that deliveries work again, if it was said that they do not."""
        if self._failing:
            self._failing = False
            structlog.get_logger().info(f"{self._what} are delivered again")
