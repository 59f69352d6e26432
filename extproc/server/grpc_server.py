"""gRPC on one thread: the thread that reads the sockets is the one that serves the calls.

grpc.aio hands each event of a call from one thread to another, through a socket, a future and a task, and for calls as
short as ours that costs several times what the work does (docs/performance.md has the figures). So this server takes
events from gRPC's completion queue itself, one after the other. It stands on what grpc's own server stands on,
`grpc._cython.cygrpc`, which is not a public API: tests go through every line of this file.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from contextvars import copy_context
from threading import Lock, Thread
from time import time
from typing import Any

import grpc
from grpc._cython import cygrpc  # type: ignore[attr-defined]  # the stubs lack it

from extproc.server.logs import RateLimitedLog, get_logger

Metadata = Sequence[tuple[str, str | bytes]]

OK: Any = cygrpc.StatusCode.ok
INTERNAL: Any = cygrpc.StatusCode.internal
NOT_FOUND: Any = cygrpc.StatusCode.not_found
_NO_FLAGS = 0
_SHUT_DOWN = "shut down"
_LAST_EVENTS_SECONDS = 0.05
_CANCEL_SECONDS = 5.0

_receive_close = cygrpc.ReceiveCloseOnServerOperation
_receive_message = cygrpc.ReceiveMessageOperation
_send_initial_metadata = cygrpc.SendInitialMetadataOperation
_send_message = cygrpc.SendMessageOperation
_send_status = cygrpc.SendStatusFromServerOperation


class Stream:
    """One call. Its methods are called by the server's thread, or by one that holds the server's lock.

    A subclass says what becomes of it: `received` has to call one of `reply`, `read`, `finish` and `until_gone`, and
    nothing in it may wait. Where it raises, the call ends with INTERNAL.
    """

    __slots__ = ("_call", "_finished", "_headed")

    def __init__(self) -> None:
        self._call: Any = None
        self._headed = False
        self._finished = False

    def received(self, message: bytes) -> None:
        """The client has sent a message."""
        raise NotImplementedError

    def closed(self) -> None:
        """The client will send nothing more: it has half-closed the call, or reset it, or is gone."""
        self.finish()

    def ended(self) -> None:
        """The call is over, whoever ended it: `finish` says so."""

    def reply(self, message: bytes) -> None:
        """Send a message, and wait for the client's next one."""
        operations = [_receive_message(_NO_FLAGS), _send_message(message, _NO_FLAGS)]
        self._start(operations, self._on_message)

    def read(self) -> None:
        """Wait for the client's next message."""
        self._batch((_receive_message(_NO_FLAGS),), self._on_message)

    def send(self, message: bytes, then: Callable[[], None]) -> None:
        """Send a message, and wait for none; `then` is called when another one can be sent."""
        self._start([_send_message(message, _NO_FLAGS)], lambda _: then())

    def until_gone(self, then: Callable[[], None]) -> None:
        """Have `then` called when a client is gone that need not say anything more; `finish` is not for such a call."""
        self._batch((_receive_close(_NO_FLAGS),), lambda _: then())

    def finish(self, message: bytes | None = None, code: object = OK) -> None:
        """End the call, after a last message if there is one to send. Whatever the client still sends is dropped."""
        self._finished = True
        operations = [_send_status(None, code, b"", _NO_FLAGS), _receive_close(_NO_FLAGS)]
        if message is not None:
            operations.append(_send_message(message, _NO_FLAGS))
        try:
            self._start(operations, _ignore)
        finally:
            self.ended()

    def serve(self, call: object) -> None:
        """Begin with the client's first message."""
        self._call = call
        self.read()

    def _start(self, operations: list[Any], then: Callable[[Any], None]) -> None:
        """Begin operations that send, initial metadata before anything else. A message to receive stays the first."""
        if not self._headed:
            self._headed = True
            operations.append(_send_initial_metadata(None, _NO_FLAGS))
        self._batch(operations, then)

    def _batch(self, operations: Sequence[Any], then: Callable[[Any], None]) -> None:
        """Have gRPC do all of this; `then` takes the event that says that it is done."""
        if self._call.start_server_batch(operations, then):
            raise RuntimeError("gRPC takes no such operation now")

    def _on_message(self, event: Any) -> None:  # noqa: ANN401  grpc gives its types no names
        if self._finished:
            return
        message = event.batch_operations[0].message()
        try:
            if message is None:
                self.closed()
            else:
                self.received(message)
        except Exception:
            if not self._finished:
                self.finish(code=INTERNAL)
            raise


class Ended(Stream):
    """A call that is over when it begins."""

    __slots__ = ("_code",)

    def __init__(self, code: object = OK) -> None:
        super().__init__()
        self._code = code

    def serve(self, call: object) -> None:
        """End it."""
        self._call = call
        self.finish(code=self._code)


class GrpcServer:
    """Serves each of `methods`, by its full name, with the Stream that it makes of a call's metadata.

    Attributes:
        lock: Held while an event is handled. Who holds it has to himself what streams use, and keeps them waiting.
    """

    def __init__(self, methods: Mapping[str, Callable[[Metadata], Stream]], options: Sequence[tuple[str, int]]) -> None:
        self.lock = Lock()
        self._methods = {name.encode(): method for name, method in methods.items()}
        self._server = cygrpc.Server(options, False)  # noqa: FBT003  no xDS
        self._queue = cygrpc.CompletionQueue()
        self._server.register_completion_queue(self._queue)
        self._open = False
        self._thread = Thread(target=copy_context().run, args=(self._run,), name="grpc-server", daemon=True)
        self._log = RateLimitedLog()

    def listen(self, target: str, credentials: grpc.ServerCredentials | None) -> int:
        """Listen on an address in gRPC's notation and return its port, 0 if that failed."""
        if credentials is None:
            return int(self._server.add_http2_port(target.encode()))
        return int(self._server.add_http2_port(target.encode(), credentials._credentials))  # type: ignore[attr-defined]  # noqa: SLF001

    def start(self) -> None:
        """Take calls, on a thread of its own."""
        self._server.start()
        self._open = True
        self._request_call()
        self._thread.start()

    def shut_down(self) -> None:
        """Close the ports and take no new call. The thread ends when the last connection has."""
        with self.lock:
            self._open = False
            self._server.shutdown(self._queue, _SHUT_DOWN)

    def join(self, timeout_seconds: float) -> None:
        """After `shut_down`, wait for connections to end, and cancel the calls of those that have not in time."""
        self._thread.join(timeout_seconds)
        if self._thread.is_alive():
            with self.lock:
                self._server.cancel_all_calls()
            self._thread.join(_CANCEL_SECONDS)

    def _run(self) -> None:
        try:
            self._serve()
        except BaseException:  # noqa: BLE001  a process that has gone deaf is worse than one that is gone
            with suppress(Exception):
                get_logger().exception("gRPC server")
            os._exit(os.EX_SOFTWARE)

    def _serve(self) -> None:
        poll, lock, over = self._queue.poll, self.lock, False
        while True:
            event = poll(time() + _LAST_EVENTS_SECONDS if over else None)
            if event.tag is None:
                break  # nothing came in time
            if event.tag is _SHUT_DOWN:
                over = True  # the last connection has gone, and the ends of its calls may stand behind it in the queue
                continue
            try:
                with lock:
                    event.tag(event)
            except Exception as error:  # noqa: BLE001  it cost one call, the others go on
                self._log.report("grpc", "gRPC call", exception=type(error).__name__)
            event = None  # holds a call, which would outlive the wait for the next one
        with lock:
            self._server.destroy()

    def _request_call(self) -> None:
        self._server.request_call(self._queue, self._queue, self._on_call)

    def _on_call(self, event: Any) -> None:  # noqa: ANN401  see above
        if not event.success:
            return  # the server shuts down
        if self._open:
            self._request_call()
        method = self._methods.get(event.call_details.method)
        stream = Ended(cygrpc.StatusCode.unimplemented) if method is None else method(event.invocation_metadata)
        stream.serve(event.call)


def _ignore(_event: object) -> None:
    """Take the event of a call that is over."""
