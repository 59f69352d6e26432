"""Envoy's gRPC access log: one entry per request that is over, with Envoy's own timings, read into Outcomes.

A request is recorded from one source only. Where Envoy is wired to time requests by its access log, our answer to the
request headers carries the record (see `RECORD`) of what was decided, Envoy hands it back with the entry, and the
ext_proc stream itself records nothing. An entry that has our tags but no such record belongs to a stream that did.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import DecodeError
from google.protobuf.struct_pb2 import Struct

from extproc.engine import access_log_pb2 as pb
from extproc.engine.flags import answered_error, error_name
from extproc.engine.outcome import UNKNOWN_SERVICE, Outcome, Reason
from extproc.engine.span import Facts, Span, SpanContext, client_span, finished
from extproc.engine.wire import NAMESPACE, RECORD, SPAN, UnreadableError, read_struct
from extproc.policy.plan import ANY_PATH, DEFAULT_POLICY, Policy

_ENDS = frozenset({pb.NOT_SET, pb.DOWNSTREAM_END})
_METHODS = {number: name for name, number in pb.Method.items() if number}
_REASONS = {reason.value: reason for reason in Reason}


@dataclass(slots=True)
class Entries:
    """What one message of the log says.

    Attributes:
        outcomes: the requests that this log records.
        recorded: how many entries are of requests that their ext_proc streams have recorded.
        spans: those of ours that end with these requests, and are to be exported.
    """

    outcomes: list[Outcome] = field(default_factory=list)
    recorded: int = 0
    spans: list[Span] = field(default_factory=list)


def read(data: bytes, policies: Mapping[str, Policy]) -> Entries:
    """What one StreamAccessLogsMessage says. Entries that are not about the end of an HTTP request are left out.

    `policies` are those in force, by name: they say which spans are worth exporting. Raises UnreadableError.
    """
    try:
        message = pb.StreamAccessLogsMessage.FromString(data)
    except DecodeError as error:
        raise UnreadableError(str(error)) from error
    entries = Entries()
    for entry in _ends(message):
        ours = entry.common_properties.metadata.filter_metadata.get(NAMESPACE)
        record = ours.fields.get(RECORD) if ours is not None else None
        if ours is not None and record is not None:
            outcome = _outcome(entry, record.struct_value)
            entries.outcomes.append(outcome)
            entries.spans += _spans(entry, outcome, ours, policies)
        elif ours is None:  # nobody was asked, or nobody answered in time
            entries.outcomes.append(_outcome(entry, Struct()))
        else:
            entries.recorded += 1
    return entries


def _ends(message: pb.StreamAccessLogsMessage) -> Iterator[pb.Entry]:
    for entry in message.http_logs.log_entry:
        common = entry.common_properties
        if common.access_log_type in _ENDS and not common.intermediate_log_entry:
            yield entry


def _outcome(entry: pb.Entry, record: Struct) -> Outcome:
    common, request, response = entry.common_properties, entry.request, entry.response
    decided = record.fields
    status = response.response_code.value
    duration = _seconds(common, "duration") or _seconds(common, "time_to_last_downstream_tx_byte") or 0.0
    sent, received = (
        _seconds(common, "time_to_first_upstream_tx_byte"),
        _seconds(common, "time_to_first_upstream_rx_byte"),
    )
    return Outcome(
        method=_METHODS.get(request.request_method, "_OTHER"),
        path=decided["path"].string_value if "path" in decided else ANY_PATH,
        service=common.upstream_cluster or UNKNOWN_SERVICE,
        scheme="https" if request.scheme == "https" else "http",
        status_code=status,
        policy=decided["policy"].string_value if "policy" in decided else DEFAULT_POLICY,
        reason=_REASONS.get(decided["reason"].string_value) if "reason" in decided else None,
        sampled=decided["sampled"].bool_value if "sampled" in decided else False,
        upstream_port=common.upstream_remote_address.socket_address.port_value,
        error_type=_error_type(status, common.response_flags, response.response_code_details),
        duration_seconds=duration,
        upstream_seconds=received - sent if received is not None and sent is not None else None,
        downstream_seconds=duration if status else None,
        request_bytes=request.request_body_bytes,
        response_bytes=response.response_body_bytes,
        attempts=common.upstream_request_attempt_count,
    )


def _spans(entry: pb.Entry, outcome: Outcome, ours: Struct, policies: Mapping[str, Policy]) -> list[Span]:
    """The request's span and that of its upstream leg, where spans are ours and these are to be exported."""
    policy = policies.get(outcome.policy)
    context = SpanContext.parse(ours.fields[SPAN].string_value) if SPAN in ours.fields else None
    if context is None or policy is None:
        return []
    common, request = entry.common_properties, entry.request
    client = common.downstream_remote_address.socket_address
    facts = Facts(
        method=outcome.method,
        path=request.path.partition("?")[0],
        scheme=outcome.scheme,
        host=request.authority,
        user_agent=request.user_agent,
        client=f"{client.address}:{client.port_value}" if client.address else None,
        status=outcome.status_code,
        error_type=outcome.error_type,
    )
    start = common.start_time.ToNanoseconds()
    whole = start, start + round(outcome.duration_seconds * 1e9)
    span = finished(context, policy, outcome, facts, lambda: read_struct(ours), whole)
    if span is None:
        return []
    sent = _seconds(common, "time_to_first_upstream_tx_byte")
    if sent is None:
        return [span]
    received = _seconds(common, "time_to_last_upstream_rx_byte")
    leg = start + round(sent * 1e9), whole[1] if received is None else start + round(received * 1e9)
    upstream = client_span(context, facts, outcome, leg)
    return [span] if upstream is None else [span, upstream]


def _seconds(common: pb.Common, name: str) -> float | None:
    if not common.HasField(name):
        return None
    span: Duration = getattr(common, name)
    return span.seconds + span.nanos / 1e9


def _error_type(status: int, flags: pb.ResponseFlags, details: str) -> str | None:
    bits = sum(1 << found.number - 1 for found, _ in flags.ListFields())
    name = error_name(bits, details)
    return answered_error(status, name) if status else name or "stream_reset"
