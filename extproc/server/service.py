"""The ext_proc service: one gRPC stream per HTTP request, message bytes in and reply bytes out.

This is the hot path: it knows no protobuf class and awaits nothing but Envoy. `python -m bench` shows what a request
costs, `bench/micro/` the pieces.
"""

import asyncio
import math
import traceback
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from time import perf_counter, time, time_ns
from typing import Any

import grpc
import grpc.aio

from extproc.engine.exchange import Engine, Exchange
from extproc.engine.outcome import Outcome, StreamError
from extproc.server import timings
from extproc.server.logs import RateLimitedLog
from extproc.telemetry.recorder import Recorder

SERVICE = "envoy.service.ext_proc.v3.ExternalProcessor"
METHOD = f"/{SERVICE}/Process"

_LOGGED_FRAMES = 6
_EOF = grpc.aio.EOF  # type: ignore[attr-defined]  # the stubs lack it


class Service:
    """Serves every stream of one worker with one engine and one recorder.

    Envoy's half-close, its reset and a vanished connection are all the normal end of a stream. Whatever goes wrong
    on our side, the stream ends with OK: Envoy then lets the HTTP request go on without us.
    """

    def __init__(self, engine: Engine, recorder: Recorder) -> None:
        self.engine = engine
        """Begins each new exchange; a running one keeps the engine that it began with."""
        self.started = 0
        """Streams ever begun: a drain watches it for new ones."""
        self.logged_at = -math.inf
        """When the last stream began that the access log will tell of, on the clock of time.perf_counter."""
        self._recorder = recorder
        self._open: dict[asyncio.Task[Any] | None, Exchange] = {}
        self._connections = 0
        self._idle = asyncio.Event()
        self._ending = False
        self._log = RateLimitedLog()

    async def wait_idle(self, timeout_seconds: float) -> None:
        """Wait until no stream is in flight, or the time is over."""
        if self._open:
            self._idle.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._idle.wait(), timeout_seconds)

    def end_streams(self) -> None:
        """End every stream in flight, and any that still begins, with OK."""
        self._ending = True
        for task in self._open:
            if task is not None:
                task.cancel()

    def count_connections(self) -> None:
        """Record how many downstream connections have a request in flight."""
        clients = [exchange.client for exchange in self._open.values() if exchange.begun]
        connections = len({client for client in clients if client is not None}) + clients.count(None)
        self._recorder.connections(connections - self._connections)
        self._connections = connections

    async def process(self, _request: object, context: "grpc.aio.ServicerContext[bytes, bytes]") -> None:
        """The handler of `METHOD`."""
        self.started += 1
        if self._ending:
            return
        task = asyncio.current_task()
        traceparent, logged = _metadata(context.invocation_metadata() or ())
        exchange = self._open[task] = self.engine.begin(traceparent, logged=logged)
        if logged:
            self.logged_at = perf_counter()
        read, write, receive = context.read, context.write, exchange.receive
        measured = self._recorder.message
        try:
            while (message := await read()) is not _EOF:
                received = perf_counter()
                reply = receive(message, received)
                answered = perf_counter()
                measured(exchange.phase, answered - received)
                if exchange.answered_at == received:  # these were the request headers
                    exchange.answered_at = answered
                await write(reply)
        except asyncio.CancelledError:
            if not self._ending:
                raise  # Envoy has reset the stream, so there is no one to send a status to
        except grpc.aio.BaseError as error:
            raise asyncio.CancelledError from error  # the same, noticed while reading or writing
        except Exception as error:  # noqa: BLE001  a bug of ours must not fail the request
            self._count(StreamError.INTERNAL, error)
        finally:
            del self._open[task]
            self._record(exchange)

    def _record(self, exchange: Exchange) -> None:
        """Record a stream that is over."""
        if not self._open:
            self._idle.set()
        outcome = exchange.finish(perf_counter(), shutdown=self._ending)
        if outcome is not None:
            self._recorder.request(outcome)
            if exchange.spanned is not None and (span := exchange.span(outcome, time_ns())) is not None:
                self._recorder.span(span)
        if exchange.trial is not None:
            self._recorder.dry_run(exchange.trial.policy, sampled=exchange.trial.sampled)
        if exchange.audited is not None:
            self._audit(exchange, outcome)
        for kind in exchange.errors:
            self._count(kind, exchange.failure)

    def _audit(self, exchange: Exchange, outcome: Outcome | None) -> None:
        record = exchange.audit(outcome, time(), shutdown=self._ending)
        if record is not None:
            self._recorder.audit(record)

    def _count(self, kind: StreamError, failure: Exception | None) -> None:
        """Count an error and log where it came from, but not its message, which may quote what a client sent."""
        self._recorder.stream_error(kind)
        if failure is None:
            self._log.report(kind, "stream error")
            return
        frames = traceback.extract_tb(failure.__traceback__)[-_LOGGED_FRAMES:]
        where = [f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in frames]
        self._log.report(kind, "stream error", exception=type(failure).__name__, where=where)


def _metadata(metadata: Iterable[tuple[str, str | bytes]]) -> tuple[str | None, bool]:
    """The trace that Envoy is in, and whether its access log will record the request."""
    traceparent, logged = None, False
    for key, value in metadata:
        if key == "traceparent" and isinstance(value, str):
            traceparent = value
        elif key == timings.KEY:
            logged = value == timings.ACCESS_LOG
    return traceparent, logged
