"""The access log service: Envoy's own account of each request, in batches.

Envoy opens one stream per worker of its own and keeps it open. Nothing is answered, so what was read is recorded and
what breaks with a stream is lost: Envoy sends an entry once.
"""

from collections.abc import Callable, Mapping

from extproc.engine import access_log
from extproc.engine.outcome import StreamError
from extproc.engine.wire import UnreadableError
from extproc.policy.plan import Policy
from extproc.server.grpc_server import Metadata, Stream
from extproc.server.logs import RateLimitedLog
from extproc.telemetry.recorder import Recorder

SERVICE = "envoy.service.accesslog.v3.AccessLogService"
METHOD = f"/{SERVICE}/StreamAccessLogs"


class AccessLog:
    """Records every entry of one worker's log streams.

    Args:
        recorder: the worker's.
        policies: the policies in force, by name.
    """

    def __init__(self, recorder: Recorder, policies: Callable[[], Mapping[str, Policy]]) -> None:
        self._recorder = recorder
        self._policies = policies
        self._open: set[_LogStream] = set()
        self._log = RateLimitedLog()

    def stream(self, _metadata: Metadata) -> Stream:
        """The handler of `METHOD`. Envoy is told the end only by us."""
        stream = _LogStream(self)
        self._open.add(stream)
        return stream

    def end(self) -> None:
        """End every stream with OK: Envoy opens another one, elsewhere."""
        for stream in tuple(self._open):
            stream.closed()

    def forget(self, stream: "_LogStream") -> None:
        """Take note that a stream is over."""
        self._open.discard(stream)

    def record(self, message: bytes) -> None:
        """Record what one message tells of."""
        try:
            entries = access_log.read(message, self._policies())
        except UnreadableError:
            self._fault(StreamError.UNREADABLE, "access log message")
            return
        except Exception as error:  # noqa: BLE001  a bug of ours must not end the log
            self._fault(StreamError.INTERNAL, "access log message", exception=type(error).__name__)
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

    def _fault(self, kind: StreamError, event: str, **fields: str) -> None:
        self._recorder.stream_error(kind)
        self._log.report(kind, event, **fields)


class _LogStream(Stream):
    """A stream that is only listened to."""

    __slots__ = ("_log",)

    def __init__(self, log: AccessLog) -> None:
        super().__init__()
        self._log = log

    def received(self, message: bytes) -> None:
        """Record what it tells of."""
        self._log.record(message)
        self.read()

    def closed(self) -> None:
        """End the stream with an empty answer."""
        self.finish(b"")

    def ended(self) -> None:
        """Tell the log."""
        self._log.forget(self)
