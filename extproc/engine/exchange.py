"""One HTTP exchange through ext_proc: messages in, replies out, and in the end its Outcome.

No I/O and no clock: the caller hands in bytes and the time.
"""

from collections.abc import Callable

from extproc.engine import wire
from extproc.engine.decide import Decider, Prepared
from extproc.engine.enrich import Received
from extproc.engine.flags import error_flag
from extproc.engine.order import LEGAL, START, State
from extproc.engine.outcome import UNKNOWN_SERVICE, Outcome, Phase, Reason, StreamError
from extproc.engine.request import Request, method_label
from extproc.engine.sample import Decision
from extproc.engine.tracecontext import parse_traceparent
from extproc.policy.plan import ANY_PATH, DEFAULT_POLICY, Plan

_SERVER_ERROR = 500


class Engine:
    """A Plan at work. Exchanges that began with it end with it."""

    __slots__ = ("decider", "plan")

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.decider = Decider(plan)

    def begin(self, traceparent: str | None) -> "Exchange":
        """A new exchange; `traceparent` is that of the gRPC request, which names Envoy's trace even if it is new."""
        return Exchange(self.decider, traceparent)


class Exchange:
    """One HTTP request and its response, as one ext_proc stream shows them.

    Attributes:
        phase: the phase of the message last received.
        errors: what went wrong on this stream; each was answered with 'continue unchanged'.
        failure: the exception behind the last StreamError.INTERNAL.
        client: address and port of the downstream connection, where Envoy sends `source.address`.
        answered_at: when request headers were answered, in the caller's seconds; the caller may move it to the moment
            when the answer was really sent.
    """

    __slots__ = (
        "_bodies",
        "_decider",
        "_decision",
        "_flags",
        "_port",
        "_prepared",
        "_request",
        "_responded_at",
        "_started_at",
        "_state",
        "_status",
        "_traceparent",
        "answered_at",
        "client",
        "errors",
        "failure",
        "phase",
    )

    def __init__(self, decider: Decider, traceparent: str | None) -> None:
        self._decider = decider
        self._traceparent = traceparent
        self._state: State = START
        self._request: Request | None = None
        self._prepared: Prepared | None = None
        self._decision: Decision | None = None
        self._bodies = wire.NO_BODIES
        self._status = 0
        self._flags = 0
        self._port = 0
        self._started_at: float | None = None
        self._responded_at: float | None = None
        self.answered_at: float | None = None
        self.phase = Phase.REQUEST_HEADERS
        self.errors: list[StreamError] = []
        self.failure: Exception | None = None
        self.client: str | None = None

    def receive(self, data: bytes, now: float) -> bytes:
        """The reply to one message, at `now` (monotonic seconds). Never raises: the worst reply is 'continue'."""
        if self._started_at is None:
            self._started_at = now
        try:
            message, self.phase = wire.parse(data)
        except wire.UnreadableError:
            self.phase = wire.guess_phase(data) or self._expected_phase()
            return self._unchanged(StreamError.UNREADABLE)
        state = LEGAL.get((self._state, self.phase))
        if state is None:
            return self._unchanged(StreamError.PROTOCOL)
        self._state, first = state, self._state is START
        try:
            if first:
                self._bodies = wire.read_bodies(message)
            return _HANDLERS[self.phase](self, message, now)
        except Exception as error:  # noqa: BLE001  a bug of ours must not become the request's
            self.failure = error
            return self._unchanged(StreamError.INTERNAL)

    def finish(self, now: float, *, shutdown: bool = False) -> Outcome | None:
        """What became of the request, once its stream has ended; None if no message ever came.

        `shutdown` says that we ended the stream and not Envoy.
        """
        if self._started_at is None:
            return None
        request, decision, prepared = self._request, self._decision, self._prepared
        upstream = downstream = None
        if self._responded_at is not None and self.answered_at is not None:
            upstream = self._responded_at - self.answered_at
            downstream = now - self._started_at
        return Outcome(
            method=method_label(request.method) if request else "_OTHER",
            path=prepared.policy.path_template if prepared else ANY_PATH,
            service=(request.service if request else "") or UNKNOWN_SERVICE,
            scheme="https" if request and request.headers.get(":scheme") == "https" else "http",
            status_code=self._status,
            policy=prepared.policy.name if prepared else DEFAULT_POLICY,
            reason=decision.reason if decision else Reason.DEFAULT,
            sampled=decision.sampled if decision else False,
            duration_seconds=now - self._started_at,
            upstream_seconds=upstream,
            downstream_seconds=downstream,
            upstream_port=self._port,
            error_type=self._error_type(shutdown=shutdown),
        )

    def _error_type(self, *, shutdown: bool) -> str | None:
        if not self._status:
            return "server_shutdown" if shutdown else "stream_reset"
        return error_flag(self._flags) or ("5xx" if self._status >= _SERVER_ERROR else None)

    def _unchanged(self, error: StreamError) -> bytes:
        self.errors.append(error)
        return wire.continue_reply(self.phase)

    def _expected_phase(self) -> Phase:
        return Phase.REQUEST_HEADERS if self._state is START else Phase.RESPONSE_HEADERS

    def _on_request_headers(self, message: wire.Message, now: float) -> bytes:
        decider = self._decider
        headers = wire.read_headers(message.request_headers, decider.request_headers)
        attributes = wire.read_attributes(message)
        self.client = _text(attributes, "source.address") or None
        self._request = request = Request(headers, _text(attributes, "xds.cluster_name"))
        self.answered_at = now
        parent = parse_traceparent(headers.get("traceparent"))
        self._prepared = prepared = decider.policy(request)
        self._decision = decision = decider.decide(prepared, request, parent, self._traceparent)
        reply, entries = prepared.reply(decision)
        if decision.reason is not Reason.DISABLED:
            entries += prepared.tags.of_request(Received(request, message, attributes))
        reply += wire.metadata(entries)
        return reply + wire.HEADERS_ONLY if self._bodies.sent else reply

    def _on_response_headers(self, message: wire.Message, now: float) -> bytes:
        headers = wire.read_headers(message.response_headers, self._decider.response_headers)
        attributes = wire.read_attributes(message)
        self._responded_at = now
        status = headers.get(":status", "")
        self._status = int(status) if len(status) == 3 and status.isdecimal() else 0  # noqa: PLR2004  RFC 9110: three digits
        if (flags := attributes.get("response.flags")) is not None:
            self._flags = int(flags.number_value)
        port = _text(attributes, "upstream.address").rpartition(":")[2]
        self._port = int(port) if port.isdecimal() else 0
        reply = wire.continue_reply(Phase.RESPONSE_HEADERS)
        prepared, request, decision = self._prepared, self._request, self._decision
        if prepared is None or request is None or decision is None or decision.reason is Reason.DISABLED:
            return reply
        if prepared.tags.in_response:
            reply += wire.metadata(prepared.tags.of_response(Received(request, message, attributes, headers)))
        return reply

    def _on_request_body(self, message: wire.Message, now: float) -> bytes:
        del now
        return wire.body_reply(message, self.phase, echo=self._bodies.request_echoed)

    def _on_response_body(self, message: wire.Message, now: float) -> bytes:
        del now
        return wire.body_reply(message, self.phase, echo=self._bodies.response_echoed)

    def _on_trailers(self, message: wire.Message, now: float) -> bytes:
        del message, now
        return wire.continue_reply(self.phase)


def _text(attributes: wire.Attributes, name: str) -> str:
    value = attributes.get(name)
    return value.string_value if value is not None else ""


_HANDLERS: dict[Phase, Callable[[Exchange, wire.Message, float], bytes]] = {
    Phase.REQUEST_HEADERS: Exchange._on_request_headers,  # noqa: SLF001  its own table
    Phase.RESPONSE_HEADERS: Exchange._on_response_headers,  # noqa: SLF001
    Phase.REQUEST_BODY: Exchange._on_request_body,  # noqa: SLF001
    Phase.RESPONSE_BODY: Exchange._on_response_body,  # noqa: SLF001
    Phase.REQUEST_TRAILERS: Exchange._on_trailers,  # noqa: SLF001
    Phase.RESPONSE_TRAILERS: Exchange._on_trailers,  # noqa: SLF001
}
