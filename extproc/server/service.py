"""The ext_proc service: one gRPC stream per HTTP request, message bytes in and reply bytes out.

This is the hot path: it knows no protobuf class and waits for nothing. `python -m bench` shows what a request costs,
`bench/micro/` the pieces.
"""

import math
import traceback
from pathlib import Path
from time import perf_counter, time, time_ns

from extproc.engine.exchange import Engine, Exchange
from extproc.engine.outcome import Outcome, StreamError
from extproc.server import timings
from extproc.server.grpc_server import Ended, Metadata, Stream
from extproc.server.logs import RateLimitedLog
from extproc.telemetry.recorder import Recorder

SERVICE = "envoy.service.ext_proc.v3.ExternalProcessor"
METHOD = f"/{SERVICE}/Process"

_LOGGED_FRAMES = 6


class Service:
    """Serves every stream of one worker with one engine and one recorder.

    Envoy's half-close, its reset and a vanished connection are all the normal end of a stream. Whatever goes wrong
    on our side, the stream ends with OK: Envoy then lets the HTTP request go on without us.

    Its methods need the lock of the server whose streams these are.
    """

    def __init__(self, engine: Engine, recorder: Recorder) -> None:
        self.engine = engine
        """Begins each new exchange; a running one keeps the engine that it began with."""
        self.started = 0
        """Streams ever begun: a drain watches it for new ones."""
        self.logged_at = -math.inf
        """When the last stream began that the access log will tell of, on the clock of time.perf_counter."""
        self.recorder = recorder
        self._open: set[ProcessStream] = set()
        self._connections = 0
        self._ending = False
        self._log = RateLimitedLog()

    @property
    def idle(self) -> bool:
        """Whether no stream is in flight."""
        return not self._open

    def end_streams(self) -> None:
        """End every stream in flight, and any that still begins, with OK."""
        self._ending = True
        for stream in tuple(self._open):
            stream.finish()

    def count_connections(self) -> None:
        """Record how many downstream connections have a request in flight."""
        exchanges = [stream.exchange for stream in self._open]
        clients = [exchange.client for exchange in exchanges if exchange.begun]
        connections = len({client for client in clients if client is not None}) + clients.count(None)
        self.recorder.connections(connections - self._connections)
        self._connections = connections

    def process(self, metadata: Metadata) -> Stream:
        """The handler of `METHOD`."""
        self.started += 1
        if self._ending:
            return Ended()
        traceparent, logged = _trace(metadata)
        if logged:
            self.logged_at = perf_counter()
        stream = ProcessStream(self, traceparent, logged=logged)
        self._open.add(stream)
        return stream

    def end(self, stream: "ProcessStream") -> None:
        """Record a stream that is over."""
        self._open.discard(stream)
        try:
            self._record(stream.exchange)
        except Exception as error:  # noqa: BLE001  a bug of ours must not keep other streams from their end
            self.count(StreamError.INTERNAL, error)

    def _record(self, exchange: Exchange) -> None:
        outcome = exchange.finish(perf_counter(), shutdown=self._ending)
        if outcome is not None:
            self.recorder.request(outcome)
            if exchange.spanned is not None and (span := exchange.span(outcome, time_ns())) is not None:
                self.recorder.span(span)
        if exchange.trial is not None:
            self.recorder.dry_run(exchange.trial.policy, sampled=exchange.trial.sampled)
        if exchange.audited is not None:
            self._audit(exchange, outcome)
        for kind in exchange.errors:
            self.count(kind, exchange.failure)

    def _audit(self, exchange: Exchange, outcome: Outcome | None) -> None:
        record = exchange.audit(outcome, time(), shutdown=self._ending)
        if record is not None:
            self.recorder.audit(record)

    def count(self, kind: StreamError, failure: Exception | None) -> None:
        """Count an error and log where it came from, but not its message, which may quote what a client sent."""
        self.recorder.stream_error(kind)
        if failure is None:
            self._log.report(kind, "stream error")
            return
        frames = traceback.extract_tb(failure.__traceback__)[-_LOGGED_FRAMES:]
        where = [f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in frames]
        self._log.report(kind, "stream error", exception=type(failure).__name__, where=where)


class ProcessStream(Stream):
    """One request's stream."""

    __slots__ = ("_service", "exchange")

    def __init__(self, service: Service, traceparent: str | None, *, logged: bool) -> None:
        super().__init__()
        self._service = service
        self.exchange = service.engine.begin(traceparent, logged=logged)

    def received(self, message: bytes) -> None:
        """Answer one message."""
        exchange, service = self.exchange, self._service
        try:
            received = perf_counter()
            reply = exchange.receive(message, received)
            answered = perf_counter()
            service.recorder.message(exchange.phase, answered - received)
        except Exception as error:  # noqa: BLE001  a bug of ours must not fail the request
            self.finish()
            service.count(StreamError.INTERNAL, error)
            return
        if exchange.answered_at == received:  # these were the request headers
            exchange.answered_at = answered
        if exchange.over:
            self.finish(reply)
        else:
            self.reply(reply)

    def ended(self) -> None:
        """Record the request."""
        self._service.end(self)


def _trace(metadata: Metadata) -> tuple[str | None, bool]:
    """The trace that Envoy is in, and whether its access log will record the request."""
    traceparent, logged = None, False
    for key, value in metadata:
        if key == "traceparent" and isinstance(value, str):
            traceparent = value
        elif key == timings.KEY:
            logged = value == timings.ACCESS_LOG
    return traceparent, logged
