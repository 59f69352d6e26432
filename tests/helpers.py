"""Builders of ext_proc messages, written and read with envoy-data-plane: a second, independent view of the wire."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import betterproto2
from envoy_data_plane.envoy.config.core import v3 as core
from envoy_data_plane.envoy.extensions.filters.http.ext_proc import v3 as filter_v3
from envoy_data_plane.envoy.service.ext_proc import v3 as ext_proc
from envoy_data_plane.google import protobuf as google

Scalar = str | float
ATTRIBUTES_KEY = "envoy.filters.http.ext_proc"


def header_map(headers: Mapping[str, str | list[str]]) -> core.HeaderMap:
    """Headers as Envoy sends them: only raw_value; a list is a header that occurs several times."""
    pairs = [
        (name, value)
        for name, values in headers.items()
        for value in (values if isinstance(values, list) else [values])
    ]
    return core.HeaderMap(headers=[core.HeaderValue(key=name, raw_value=value.encode()) for name, value in pairs])


def struct(fields: Mapping[str, object]) -> google.Struct:
    """A google.protobuf.Struct."""
    built: google.Struct = google.Struct.from_dict(dict(fields))
    return built


def request_headers(
    headers: Mapping[str, str | list[str]],
    attributes: Mapping[str, Scalar] | None = None,
    metadata: Mapping[str, Mapping[str, object]] | None = None,
    *,
    request_body: str | None = None,
    response_body: str | None = None,
) -> bytes:
    """The first message of a stream."""
    modes = filter_v3.ProcessingModeBodySendMode
    message = ext_proc.ProcessingRequest(
        request_headers=ext_proc.HttpHeaders(headers=header_map(headers)),
        attributes={ATTRIBUTES_KEY: struct(attributes)} if attributes else {},
        metadata_context=core.Metadata(
            filter_metadata={name: struct(value) for name, value in (metadata or {}).items()}
        ),
        protocol_config=ext_proc.ProtocolConfiguration(
            request_body_mode=modes.from_string(request_body or "NONE"),
            response_body_mode=modes.from_string(response_body or "NONE"),
        ),
    )
    return bytes(message)


def response_headers(headers: Mapping[str, str | list[str]], attributes: Mapping[str, Scalar] | None = None) -> bytes:
    """The headers of a response."""
    message = ext_proc.ProcessingRequest(
        response_headers=ext_proc.HttpHeaders(headers=header_map(headers)),
        attributes={ATTRIBUTES_KEY: struct(attributes)} if attributes else {},
    )
    return bytes(message)


def piece(phase: str, body: bytes = b"", *, end_of_stream: bool = False) -> bytes:
    """A piece of body, or trailers, of either direction."""
    message = ext_proc.ProcessingRequest()
    trailers = phase.endswith("_trailers")
    part = ext_proc.HttpTrailers(core.HeaderMap()) if trailers else ext_proc.HttpBody(body, end_of_stream=end_of_stream)
    setattr(message, phase, part)
    return bytes(message)


@dataclass(frozen=True, slots=True)
class Reply:
    """What Envoy would read from a reply."""

    phase: str | None
    metadata: dict[str, object] = field(default_factory=dict)
    set_headers: dict[str, str] = field(default_factory=dict)
    clear_route_cache: bool = False
    echoed: bytes | None = None
    override: filter_v3.ProcessingMode | None = None
    remove_headers: list[str] = field(default_factory=list)


def read_reply(data: bytes) -> Reply:
    """Reads a reply."""
    reply = ext_proc.ProcessingResponse.parse(data)
    phase, answer = betterproto2.which_one_of(reply, "response")
    common = getattr(answer, "response", None)
    mutation = common.header_mutation if common else None
    streamed = common.body_mutation.streamed_response if common and common.body_mutation else None
    return Reply(
        phase=phase or None,
        remove_headers=list(mutation.remove_headers) if mutation else [],
        metadata=_metadata(reply),
        set_headers={option.header.key: option.header.raw_value.decode() for option in mutation.set_headers}
        if mutation
        else {},
        clear_route_cache=bool(common and common.clear_route_cache),
        echoed=streamed.body if streamed else None,
        override=reply.mode_override,
    )


def _metadata(reply: ext_proc.ProcessingResponse) -> dict[str, object]:
    namespaces = reply.dynamic_metadata.to_dict() if reply.dynamic_metadata else {}
    assert set(namespaces) <= {"extproc"}, "top-level fields are namespaces, and ours is the only one"
    return dict(namespaces.get("extproc", {}))
