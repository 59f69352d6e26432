"""The access log as Outcomes; its bytes are written by another implementation's classes."""

import warnings
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.engine import access_log, wire
from extproc.engine import access_log_pb2 as pb_log
from extproc.engine import wire_pb2 as pb
from extproc.engine.exchange import Engine
from extproc.engine.outcome import Outcome, Phase, Reason
from extproc.policy.load import load_text
from helpers import read_reply, request_headers

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    import envoy_data_plane.envoy.config.core.v3 as core
    import envoy_data_plane.envoy.data.accesslog.v3 as data
    import envoy_data_plane.envoy.service.accesslog.v3 as service
    import envoy_data_plane.google.protobuf as google

POLICY = b"""
tracing:
  sampling: {policy: always_off}
  policies:
    - name: plain
      match: {path: "/plain/{id}"}
      sampling: {policy: always_on}
    - name: coded
      match: {path: "/coded"}
      sampling: {policy: always_on}
      custom_tags: [{tag: code, attribute: response.code}]
"""
ENGINE = Engine(load_text(POLICY, "policy.yaml", {}))


def answer(path: str) -> bytes:
    """Our reply to a request whose timings the access log has."""
    return ENGINE.begin(None, logged=True).receive(request_headers({":method": "GET", ":path": path}), 1.0)


def namespace(path: str, *, logged: bool = True) -> Any:  # noqa: ANN401  another implementation's Struct
    """The dynamic metadata that Envoy keeps of our reply, as its log brings it back."""
    request = request_headers({":method": "GET", ":path": path})
    reply = pb.ProcessingResponse.FromString(ENGINE.begin(None, logged=logged).receive(request, 1.0))
    struct = reply.dynamic_metadata.fields[wire.NAMESPACE].struct_value
    return google.Struct.parse(struct.SerializeToString())


def common(**fields: Any) -> Any:  # noqa: ANN401  any field of AccessLogCommon
    """What every entry has, and some fields more."""
    found: dict[str, Any] = {
        "duration": timedelta(milliseconds=250),
        "time_to_first_upstream_tx_byte": timedelta(milliseconds=50),
        "time_to_first_upstream_rx_byte": timedelta(milliseconds=300),
        "upstream_cluster": "user_service",
        "upstream_remote_address": core.Address(socket_address=core.SocketAddress(address="10.0.0.2", port_value=8080)),
        "upstream_request_attempt_count": 2,
        "access_log_type": data.AccessLogType.DownstreamEnd,
    }
    return data.AccessLogCommon(**(found | fields))


def message(*commons: Any, status: int = 200) -> bytes:  # noqa: ANN401  AccessLogCommon
    """One message of the log, an entry for each."""
    entries = [
        data.HttpAccessLogEntry(
            common_properties=each,
            request=data.HttpRequestProperties(
                request_method=core.RequestMethod.POST, scheme="https", path="/plain/1?secret", request_body_bytes=7
            ),
            response=data.HttpResponseProperties(response_code=status, response_body_bytes=11),
        )
        for each in commons
    ]
    logs = service.StreamAccessLogsMessageHttpAccessLogEntries(log_entry=entries)
    return bytes(service.StreamAccessLogsMessage(http_logs=logs))


def one(*, status: int = 200, **fields: Any) -> Outcome:  # noqa: ANN401  any field of AccessLogCommon
    """The Outcome of a message with one entry."""
    (outcome,) = access_log.read(message(common(**fields), status=status), ENGINE.decider.policies).outcomes
    return outcome


def test_outcome() -> None:
    """Timings, sizes and attempts are Envoy's, the decision is what our reply said."""
    decided = core.Metadata(filter_metadata={wire.NAMESPACE: namespace("/plain/1")})
    assert Outcome(
        method="POST",
        path="/plain/{id}",
        service="user_service",
        scheme="https",
        status_code=200,
        policy="plain",
        reason=Reason.POLICY,
        sampled=True,
        upstream_port=8080,
        error_type=None,
        duration_seconds=0.25,
        upstream_seconds=0.25,
        downstream_seconds=0.25,
        request_bytes=7,
        response_bytes=11,
        attempts=2,
    ) == one(metadata=decided)


def test_nobody_decided() -> None:
    """A request that Envoy let pass without our answer counts, but there is no decision to count."""
    outcome = one()
    assert ("*", "default", None, False) == (outcome.path, outcome.policy, outcome.reason, outcome.sampled)


def test_a_request_that_its_stream_recorded() -> None:
    """It has our tags but no record of ours, so it is left out."""
    recorded = core.Metadata(filter_metadata={wire.NAMESPACE: namespace("/plain/1", logged=False)})
    entries = access_log.read(message(common(metadata=recorded), common()), ENGINE.decider.policies)
    assert (1, 1) == (len(entries.outcomes), entries.recorded)


@pytest.mark.parametrize("piece", [b"\xd8\x01\x01", b"\x88\x02\x05"], ids=["intermediate", "periodic"])
def test_entries_about_less_than_a_request(piece: bytes) -> None:
    """What Envoy logs on the way (intermediate_log_entry, access_log_type) is not a request more."""
    entry = pb_log.Entry()
    entry.common_properties.MergeFromString(piece)
    sent = pb_log.StreamAccessLogsMessage(http_logs=pb_log.StreamAccessLogsMessage.HttpLogs(log_entry=[entry]))
    assert access_log.Entries() == access_log.read(sent.SerializeToString(), ENGINE.decider.policies)


@pytest.mark.parametrize(
    ("status", "flags", "error"),
    [
        (200, {}, None),
        (503, {"upstream_overflow": True}, "UO"),
        (504, {"upstream_request_timeout": True}, "UT"),
        (404, {"no_route_found": True}, "NR"),
        (0, {"downstream_connection_termination": True}, "DC"),
        (403, {"unauthorized_details": data.ResponseFlagsUnauthorized()}, "UAEX"),
        (200, {"response_from_cache_filter": True}, None),
        (500, {}, "5xx"),
        (0, {}, "stream_reset"),
    ],
)
def test_errors_are_named_as_in_envoys_documentation(status: int, flags: dict[str, Any], error: str | None) -> None:
    """By the response flag where there is one."""
    assert error == one(status=status, response_flags=data.ResponseFlags(**flags)).error_type


def test_a_denial_is_named_by_its_details() -> None:
    """The RBAC filter has no flag."""
    sent = pb_log.StreamAccessLogsMessage.FromString(message(common(), status=403))
    sent.http_logs.log_entry[0].response.MergeFromString(
        bytes(data.HttpResponseProperties(response_code_details="rbac_access_denied_matched_policy[none]"))
    )
    (outcome,) = access_log.read(sent.SerializeToString(), ENGINE.decider.policies).outcomes
    assert "rbac_access_denied" == outcome.error_type


def test_no_upstream() -> None:
    """A local reply has no upstream latency, and one without a cluster an unknown service."""
    outcome = one(time_to_first_upstream_rx_byte=None, upstream_cluster="", upstream_remote_address=None, status=503)
    assert (None, "unknown", 0) == (outcome.upstream_seconds, outcome.service, outcome.upstream_port)


@given(st.binary(max_size=200))
def test_any_bytes(junk: bytes) -> None:
    """Bytes are read or refused, nothing else."""
    try:
        access_log.read(junk, ENGINE.decider.policies)
    except wire.UnreadableError:
        return


def test_a_logged_request_needs_nothing_more() -> None:
    """Its policy is asked about the response only if a tag of its own reads it, and its stream records nothing."""
    skip, send = pb.SKIP, None
    assert skip == _response_mode(answer("/plain/1"))
    assert send == _response_mode(answer("/coded"))
    exchange = ENGINE.begin(None, logged=True)
    exchange.receive(request_headers({":method": "GET", ":path": "/coded"}), 1.0)
    assert None is exchange.finish(2.0)
    assert Phase.REQUEST_HEADERS is exchange.phase


def _response_mode(reply: bytes) -> object:
    override = read_reply(reply).override
    return None if override is None else int(override.response_header_mode)
