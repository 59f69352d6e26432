"""One HTTP exchange through ext_proc: messages in, replies out, and in the end its Outcome.

No I/O and no clock: the caller hands in bytes and the time.
"""

import math

from extproc.engine import wire
from extproc.engine.audit import Audited, AuditRecord
from extproc.engine.decide import Decider, Prepared, Trial, Verdict
from extproc.engine.enrich import Received
from extproc.engine.flags import answered_error
from extproc.engine.order import LEGAL, START, State
from extproc.engine.outcome import UNKNOWN_SERVICE, Outcome, Phase, Reason, StreamError
from extproc.engine.request import Request, method_label
from extproc.engine.sample import Decision
from extproc.engine.scan import NO_BODIES, Head
from extproc.engine.span import Facts, Span, SpanContext, begin, finished, new_trace
from extproc.engine.states import States
from extproc.engine.tracecontext import TraceContext, parse_traceparent
from extproc.policy.plan import ANY_PATH, DEFAULT_POLICY, Plan

_RESPONSE_HEADERS = b"\x1a"  # the first byte of a message with response headers
_STATUSES = {f"{status:03}": status for status in range(1000)}
_SPAN_ENTRY = wire.tag_encoder(wire.SPAN)
_new_outcome = tuple.__new__  # an Outcome without the call to its constructor


class Engine:
    """A Plan at work, as of `unix_seconds`. Exchanges that began with it end with it.

    Its samplers go on where those that shared its `states` have come to.
    """

    __slots__ = ("decider", "plan")

    def __init__(self, plan: Plan, states: States | None = None, unix_seconds: float = -math.inf) -> None:
        self.plan = plan
        self.decider = Decider(plan, states=states, unix_seconds=unix_seconds)

    def begin(self, traceparent: str | None, *, logged: bool = False) -> "Exchange":
        """A new exchange; `traceparent` is that of the gRPC request, which names Envoy's trace even if it is new.

        `logged` says that Envoy's access log will record the request, so that this exchange does not.
        """
        return Exchange(self.decider, traceparent, logged=logged)


class Exchange:
    """One HTTP request and its response, as one ext_proc stream shows them.

    Attributes:
        phase: the phase of the message last received.
        errors: what went wrong on this stream; each was answered with 'continue unchanged'. Complete after `finish`.
        failure: the exception behind the last StreamError.INTERNAL.
        client: address and port of the downstream connection, where Envoy sends `source.address`.
        audited: what there is for an audit record, None where the request's policy asks for none.
        spanned: its place in its trace, where a span of ours may have to be exported.
        trial: what a dry run would have done.
        over: nothing that could still come is of use: the stream may end with the reply.
        answered_at: when request headers were answered, in the caller's seconds; the caller may move it to the moment
            when the answer was really sent.
    """

    __slots__ = (
        "_bodies",
        "_decider",
        "_decision",
        "_entries",
        "_logged",
        "_prepared",
        "_request",
        "_responded_at",
        "_response",
        "_started_at",
        "_state",
        "_traceparent",
        "answered_at",
        "audited",
        "client",
        "errors",
        "failure",
        "over",
        "phase",
        "spanned",
        "trial",
    )

    def __init__(self, decider: Decider, traceparent: str | None, *, logged: bool) -> None:
        self._decider = decider
        self._logged = logged
        self._traceparent = traceparent
        self._state: State = START
        self._request: Request | None = None
        self._prepared: Prepared | None = None
        self._decision: Decision | None = None
        self._entries = b""
        self.spanned: SpanContext | None = None
        self._bodies = NO_BODIES
        self._response: bytes | None = None
        self._started_at: float | None = None
        self._responded_at: float | None = None
        self.answered_at: float | None = None
        self.phase = Phase.REQUEST_HEADERS
        self.errors: list[StreamError] = []
        self.failure: Exception | None = None
        self.client: str | None = None
        self.audited: Audited | None = None
        self.trial: Trial | None = None
        self.over = False

    @property
    def begun(self) -> bool:
        """Whether a message has been received."""
        return self._started_at is not None

    def receive(self, data: bytes, now: float) -> bytes:
        """The reply to one message, at `now` (monotonic seconds). Never raises: the worst reply is 'continue'."""
        if self._started_at is None:
            self._started_at = now
        try:
            content: Head | wire.Message | None = None
            if data.startswith(_RESPONSE_HEADERS) and not (self._prepared and self._prepared.tags.in_response):
                # Nothing in it changes the reply: it is read in `finish`, which is in no hurry.
                self.phase = Phase.RESPONSE_HEADERS
            else:
                self.phase, content = wire.read(data, self._decider.scanner)
            state = LEGAL.get((self._state, self.phase))
            if state is None:
                return self._unchanged(StreamError.PROTOCOL)
            self._state = state
            if self.phase is Phase.REQUEST_HEADERS and isinstance(content, Head):
                return self._on_request_headers(data, content, now)
            return self._answer(data, content, now)
        except wire.UnreadableError:
            self.phase = wire.guess_phase(data) or self._expected_phase()
            return self._unchanged(StreamError.UNREADABLE)
        except Exception as error:  # noqa: BLE001  a bug of ours must not become the request's
            self.failure = error
            return self._unchanged(StreamError.INTERNAL)

    def finish(self, now: float, *, shutdown: bool = False) -> Outcome | None:
        """What became of the request, once its stream has ended at `now`.

        None if no message ever came, or if the access log will say it. `shutdown` says that we ended the stream and not
        Envoy. Call it once; it may be called later than `now`.
        """
        request, decision, prepared = self._request, self._decision, self._prepared
        alarm = prepared.alarm if prepared is not None else None
        if self._started_at is None or (self._logged and alarm is None):
            return None
        status, error, port = self._read_response()
        if alarm is not None:
            alarm.observe(status, now)
            if self._logged:
                return None
        upstream = downstream = None
        if self._responded_at is not None and self.answered_at is not None:
            upstream = self._responded_at - self.answered_at
            downstream = now - self._started_at
        outcome = (
            method_label(request.method) if request else "_OTHER",
            prepared.path_template if prepared else ANY_PATH,
            (request.service if request else "") or UNKNOWN_SERVICE,
            "https" if request and request.headers.get(":scheme") == "https" else "http",
            status,
            prepared.policy.name if prepared else DEFAULT_POLICY,
            decision.reason if decision else Reason.DEFAULT,
            decision.sampled if decision else False,
            port,
            _error_type(status, error, shutdown=shutdown),
            now - self._started_at,
            upstream,
            downstream,
            None,
            None,
            None,
        )
        return _new_outcome(Outcome, outcome)

    def span(self, outcome: Outcome, ended_unix_nanos: int) -> Span | None:
        """The span of the request, where spans are ours and this one is to be exported; `outcome` is from `finish`."""
        context, request, prepared = self.spanned, self._request, self._prepared
        if context is None or request is None or prepared is None:
            return None
        facts = Facts(
            method=request.method,
            path=request.path,
            scheme=outcome.scheme,
            host=request.headers.get(":authority", ""),
            user_agent=request.headers.get("user-agent", ""),
            client=self.client,
            status=outcome.status_code,
            error_type=outcome.error_type,
        )
        times = ended_unix_nanos - round(outcome.duration_seconds * 1e9), ended_unix_nanos
        return finished(context, prepared.policy, outcome, facts, lambda: wire.read_entries(self._entries), times)

    def audit(self, outcome: Outcome | None, unix_seconds: float, *, shutdown: bool = False) -> AuditRecord | None:
        """The audit record of the request, if its policy asks for one.

        `outcome` is what `finish` gave; where that was None the exchange itself is asked how it ended.
        """
        if self.audited is None:
            return None
        if outcome is not None:
            return self.audited.record(unix_seconds, outcome.status_code, outcome.error_type)
        status, error, _ = self._read_response()
        return self.audited.record(unix_seconds, status, _error_type(status, error, shutdown=shutdown))

    def _answer(self, data: bytes, content: Head | wire.Message | None, now: float) -> bytes:
        if self.phase is Phase.RESPONSE_HEADERS:
            self._responded_at = now
            self._response = data
            tags = self._response_tags(data, content) if isinstance(content, Head) else b""
            return wire.continue_reply(self.phase) + tags
        return self._on_piece(content)

    def _unchanged(self, error: StreamError) -> bytes:
        self.errors.append(error)
        return wire.continue_reply(self.phase)

    def _expected_phase(self) -> Phase:
        return Phase.REQUEST_HEADERS if self._state is START else Phase.RESPONSE_HEADERS

    def _on_request_headers(self, data: bytes, head: Head, now: float) -> bytes:
        decider, headers, attributes = self._decider, head.headers, head.attributes
        self.answered_at = now
        self.client = attributes.client
        self._bodies = head.bodies
        self._request = request = Request(headers, attributes.service, attributes.service_key)
        parent = parse_traceparent(headers["traceparent"]) if "traceparent" in headers else None
        self._prepared = prepared = decider.policy(request)
        if decider.emits and parent is None:
            self._traceparent = new_trace(self._traceparent)
        verdict = decider.decide(prepared, request, parent, self._traceparent, now)
        self._decision = verdict.decision
        entries = verdict.entries
        if verdict.decision.reason is not Reason.DISABLED:
            entries += prepared.tags.of_request(request, data, attributes.values)
        if decider.dry_runs:
            self.trial = decider.tried(prepared, request, parent, self._traceparent, now)
            entries += b"" if self.trial is None else self.trial.entries
        if prepared.auditor is not None:
            received = Received(request, data, attributes.values, {})
            self.audited = Audited(prepared.auditor, received, verdict.decision, attributes.client, self._traceparent)
        reply = verdict.reply
        if decider.emits:
            reply = self._begin_span(parent, verdict, entries)
            if self._logged and self.spanned is not None:
                entries += _SPAN_ENTRY(self.spanned.text())
        if self._logged:
            reply += wire.metadata(entries + verdict.record)
            if self.audited is not None:
                return reply + wire.HEADERS_ONLY
            if prepared.reads_response:
                return reply + wire.RESPONSE_HEADERS_ONLY if head.bodies.sent else reply
            self.over = not (head.bodies.request_echoed or head.bodies.response_echoed)
            return reply + wire.NOTHING_MORE if head.bodies.sent or decider.reads_responses else reply
        reply += wire.metadata(entries)
        return reply + wire.HEADERS_ONLY if head.bodies.sent else reply

    def _begin_span(self, parent: TraceContext | None, verdict: Verdict, entries: bytes) -> bytes:
        """Give the request its place in the trace; the reply that tells the upstream."""
        request, prepared, decision = self._request, self._prepared, verdict.decision
        assert request is not None and prepared is not None and (parent or self._traceparent)  # noqa: PT018, S101
        sent = request.headers.get("tracestate")
        followed = sent if parent is not None else None  # without a traceparent a tracestate means nothing
        context = begin(parent, self._traceparent or "", followed, decision, verdict.threshold, leg=self._logged)
        if decision.sampled or prepared.policy.keep is not None:
            self.spanned = context
            self._entries = entries
        state = context.trace_state
        return wire.trace_reply(context.traceparent(sampled=decision.sampled), None if state == (sent or "") else state)

    def _response_tags(self, data: bytes, head: Head) -> bytes:
        prepared, request, decision = self._prepared, self._request, self._decision
        if prepared is None or request is None or decision is None:
            return b""
        received = Received(request, data, head.attributes.values, head.headers)
        if self.audited is not None:
            self.audited.answered(received)
        if decision.reason is Reason.DISABLED:
            return b""
        entries = prepared.tags.of_response(received)
        self._entries += entries
        return wire.metadata(entries)

    def _read_response(self) -> tuple[int, str | None, int]:
        """Status, what Envoy says went wrong, and the upstream's port; 0 and None for what is not known."""
        if self._response is None:
            return 0, None, 0
        try:
            _, head = wire.read(self._response, self._decider.response_scanner)
        except wire.UnreadableError:
            self.errors.append(StreamError.UNREADABLE)
            return 0, None, 0
        except Exception as error:  # noqa: BLE001  as in `receive`
            self.failure = error
            self.errors.append(StreamError.INTERNAL)
            return 0, None, 0
        if not isinstance(head, Head):
            self.errors.append(StreamError.PROTOCOL)
            return 0, None, 0
        attributes = head.attributes
        return _STATUSES.get(head.headers.get(":status", ""), 0), attributes.error, attributes.upstream_port

    def _on_piece(self, message: Head | wire.Message | None) -> bytes:
        """A piece of body, or trailers."""
        echo = (self.phase is Phase.REQUEST_BODY and self._bodies.request_echoed) or (
            self.phase is Phase.RESPONSE_BODY and self._bodies.response_echoed
        )
        if echo and isinstance(message, wire.Message):
            return wire.echo_reply(message, self.phase)
        return wire.continue_reply(self.phase)


def _error_type(status: int, error: str | None, *, shutdown: bool) -> str | None:
    if not status:
        return "server_shutdown" if shutdown else "stream_reset"
    return answered_error(status, error)
