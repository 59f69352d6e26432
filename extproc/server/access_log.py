"""The access log service: Envoy's own account of each request, in batches.

Envoy opens one stream per worker of its own and keeps it open. Nothing is answered, so what was read is recorded and
what breaks with a stream is lost: Envoy sends an entry once.
"""

import asyncio
from collections.abc import Callable, Mapping

import grpc.aio

from extproc.engine import access_log
from extproc.engine.outcome import StreamError
from extproc.engine.wire import UnreadableError
from extproc.policy.plan import Policy
from extproc.server.logs import RateLimitedLog
from extproc.telemetry.recorder import Recorder

SERVICE = "envoy.service.accesslog.v3.AccessLogService"
METHOD = f"/{SERVICE}/StreamAccessLogs"

_EOF = grpc.aio.EOF  # type: ignore[attr-defined]  # the stubs lack it


class AccessLog:
    """Records every entry of one worker's log streams.

    Args:
        recorder: the worker's.
        policies: the policies in force, by name.
    """

    def __init__(self, recorder: Recorder, policies: Callable[[], Mapping[str, Policy]]) -> None:
        self._recorder = recorder
        self._policies = policies
        self._streams: set[asyncio.Task[None] | None] = set()
        self._ending = False
        self._log = RateLimitedLog()

    async def stream(self, _request: object, context: "grpc.aio.ServicerContext[bytes, bytes]") -> bytes:
        """The handler of `METHOD`. Envoy is told the end only by us."""
        task = asyncio.current_task()
        self._streams.add(task)
        try:
            while not self._ending and (message := await context.read()) is not _EOF:
                self._record(message)
        except asyncio.CancelledError:
            if not self._ending:
                raise
        except grpc.aio.BaseError as error:
            raise asyncio.CancelledError from error
        finally:
            self._streams.discard(task)
        return b""

    def end(self) -> None:
        """End every stream with OK: Envoy opens another one, elsewhere."""
        self._ending = True
        for task in self._streams:
            if task is not None:
                task.cancel()

    def _record(self, message: bytes) -> None:
        try:
            entries = access_log.read(message, self._policies())
        except UnreadableError:
            self._fault(StreamError.UNREADABLE, "access log message")
            return
        for outcome in entries.outcomes:
            self._recorder.request(outcome)
        for span in entries.spans:
            self._recorder.span(span)
        for _ in range(entries.recorded):
            self._fault(
                StreamError.RECORDED_TWICE,
                "the access log names requests that their ext_proc streams have recorded: "
                "give the filter what `extproc envoy --timings access-log` prints, or take the access log away",
            )

    def _fault(self, kind: StreamError, event: str) -> None:
        self._recorder.stream_error(kind)
        self._log.report(kind, event)
