"""ext_proc messages as bytes. The only file that knows the protobuf classes.

What Envoy writes in its plain way, `scan.py` reads; everything else upb does. Replies are put together from parts that
were encoded beforehand: the entries of a map stand one after the other, so what a policy settles is encoded once, and
only the tags that depend on the request are encoded for it (`bench/micro/` shows what that saves).
"""

import struct
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from google.protobuf.message import DecodeError
from google.protobuf.struct_pb2 import Struct, Value

from extproc.engine import wire_pb2 as pb
from extproc.engine.outcome import Phase
from extproc.engine.scan import ATTRIBUTES_KEY, NO_BODIES, Attributes, Bodies, Head, Scanner, TagValue, length

Message = pb.ProcessingRequest

NAMESPACE = "extproc"
"""The namespace of the dynamic metadata that we answer."""
RECORD = "extproc.record"
"""The key in it under which Envoy's access log brings back what was decided (see `access_log.py`)."""
SPAN = "extproc.span"
"""The same for the span of ours that the log is to end."""
MAX_VALUE_LENGTH = 1024
"""Characters of a tag's value that are kept."""

_PHASES = {phase.value: phase for phase in Phase}
_HEADERS = frozenset({Phase.REQUEST_HEADERS, Phase.RESPONSE_HEADERS})
_PHASE_BY_FIRST_BYTE = {pb.ProcessingRequest.DESCRIPTOR.fields_by_name[phase].number << 3 | 2: phase for phase in Phase}
_HEADERS_BY_FIRST_BYTE = {bytes([byte]): phase for byte, phase in _PHASE_BY_FIRST_BYTE.items() if phase in _HEADERS}
# Bodies that the server must send back, or they are lost.
_ECHOED = frozenset({pb.FULL_DUPLEX_STREAMED, pb.GRPC})
_NAMESPACE_KEY = b"\x0a" + bytes([len(NAMESPACE)]) + NAMESPACE.encode() + b"\x12"  # 1 the key, 2 the Value
_NUMBER = struct.Struct("<d")


class UnreadableError(ValueError):
    """The bytes are not a ProcessingRequest, or one of no phase."""


def read(data: bytes, scanner: Scanner) -> tuple[Phase, Head | Message]:
    """The phase of a message, with its Head if it carries headers, else the message itself.

    Raises UnreadableError.
    """
    phase = _HEADERS_BY_FIRST_BYTE.get(data[:1])
    if phase is not None and (head := scanner.scan(data)) is not None:
        return phase, head
    message = _parse(data)
    phase = _PHASES[message.WhichOneof("request") or ""]
    if phase not in _HEADERS:
        return phase, message
    headers = _read_headers(getattr(message, phase), scanner.wanted)
    return phase, Head(headers, Attributes(_read_attributes(message)), _read_bodies(message))


def guess_phase(data: bytes) -> Phase | None:
    """The phase of a message by its first byte: Envoy writes that field first."""
    return _PHASE_BY_FIRST_BYTE.get(data[0]) if data else None


def read_metadata(data: bytes, namespace: str, path: tuple[str, ...]) -> TagValue | None:
    """A scalar of Envoy's dynamic metadata in a message, where it was forwarded and is there."""
    held: Struct | None = Message.FromString(data).metadata_context.filter_metadata.get(namespace)
    *way, last = path
    for key in way:
        if held is None:
            return None
        value: Value | None = held.fields.get(key)
        held = value.struct_value if value is not None and value.HasField("struct_value") else None
    found = held.fields.get(last) if held is not None else None
    return _scalar(found) if found is not None else None


def _parse(data: bytes) -> Message:
    try:
        message = Message.FromString(data)
    except DecodeError as error:
        raise UnreadableError(str(error)) from error
    if message.WhichOneof("request") is None:
        raise UnreadableError("no phase is set")
    return message


def _read_headers(headers: pb.HttpHeaders, wanted: dict[bytes, str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for header in headers.headers.headers:
        name = wanted.get(header.key.encode())
        if name is not None:
            value = (header.raw_value or header.value.encode()).decode(errors="replace")
            found[name] = f"{found[name]},{value}" if name in found else value
    return found


def _read_attributes(message: Message) -> dict[str, TagValue]:
    sent: Struct | None = message.attributes.get(ATTRIBUTES_KEY)
    values = {name: _scalar(value) for name, value in sent.fields.items()} if sent is not None else {}
    return {name: value for name, value in values.items() if value is not None}


def _scalar(value: Value) -> TagValue | None:
    kind = value.WhichOneof("kind")
    if kind == "string_value":
        return value.string_value
    if kind == "number_value":
        return value.number_value
    return str(value.bool_value).lower() if kind == "bool_value" else None


def _read_bodies(message: Message) -> Bodies:
    config = message.protocol_config
    if not (config.request_body_mode or config.response_body_mode):
        return NO_BODIES
    return Bodies(
        sent=True,
        request_echoed=config.request_body_mode in _ECHOED,
        response_echoed=config.response_body_mode in _ECHOED,
    )


@dataclass(frozen=True, slots=True)
class Mutation:
    """What a reply to request headers does to them; `clear_route_cache` makes Envoy choose the route again."""

    set_headers: tuple[tuple[str, str], ...] = ()
    remove_headers: tuple[str, ...] = ()
    clear_route_cache: bool = False


NO_MUTATION = Mutation()


def headers_reply(phase: Phase, mutation: Mutation = NO_MUTATION) -> bytes:
    """The reply to request or response headers, encoded, but for its dynamic metadata."""
    reply = pb.ProcessingResponse()
    phase_reply: pb.PhaseResponse = getattr(reply, phase)
    phase_reply.SetInParent()
    for name, value in mutation.set_headers:
        option = phase_reply.response.header_mutation.set_headers.add()
        option.header.key = name
        option.header.raw_value = value.encode()
        option.append_action = pb.OVERWRITE_IF_EXISTS_OR_ADD
    if mutation.clear_route_cache:
        phase_reply.response.clear_route_cache = True
    return reply.SerializeToString()


def trace_reply(traceparent: str, trace_state: str | None) -> bytes:
    """The reply to request headers that gives the upstream this trace context, but for its dynamic metadata.

    A `trace_state` of None leaves the caller's as it is, an empty one takes it away.
    """
    mutation = _set_header(b"traceparent", traceparent.encode())
    if trace_state:
        mutation += _set_header(b"tracestate", trace_state.encode(errors="replace"))
    elif trace_state is not None:
        mutation += b"\x12\x0atracestate"  # HeaderMutation.remove_headers = 2
    # ProcessingResponse.request_headers = 1, PhaseResponse.response = 1, CommonResponse.header_mutation = 2
    return _field(b"\x0a", _field(b"\x0a", _field(b"\x12", mutation)))


def _set_header(name: bytes, value: bytes) -> bytes:
    header = _field(b"\x0a", name) + _field(b"\x1a", value)  # Header: 1 the key, 3 the raw value
    # HeaderMutation.set_headers = 1, HeaderValueOption: 1 the header, 3 the action, OVERWRITE_IF_EXISTS_OR_ADD
    return _field(b"\x0a", _field(b"\x0a", header) + b"\x18\x02")


def _field(tag: bytes, content: bytes) -> bytes:
    return tag + length(len(content)) + content


def metadata(entries: bytes) -> bytes:
    """What has to be added to a reply so that it carries these entries (see `tag_encoder`) as dynamic metadata.

    The outer Struct has one entry per namespace, and there is one namespace: the inner Struct is its value.
    """
    return _ENTRIES[len(entries)] + entries if entries else b""


def continue_reply(phase: Phase) -> bytes:
    """'Continue unchanged' for this phase: the oneof has to be set even then."""
    return _CONTINUE[phase]


def _continue(phase: Phase) -> bytes:
    reply = pb.ProcessingResponse()
    getattr(reply, phase).SetInParent()
    return reply.SerializeToString()


_CONTINUE = {phase: _continue(phase) for phase in Phase}


def echo_reply(message: Message, phase: Phase) -> bytes:
    """'Continue unchanged' for a piece of body that Envoy gave away and wants back."""
    reply = pb.ProcessingResponse()
    getattr(reply, phase).response.body_mutation.streamed_response.CopyFrom(getattr(message, phase))
    return reply.SerializeToString()


def _override(response_headers: pb.HeaderSendMode, response_trailers: pb.HeaderSendMode) -> bytes:
    reply = pb.ProcessingResponse()
    reply.mode_override.response_header_mode = response_headers
    reply.mode_override.request_trailer_mode = pb.SKIP
    reply.mode_override.response_trailer_mode = response_trailers
    return reply.SerializeToString()


HEADERS_ONLY = _override(pb.SEND, pb.SEND)
"""To be added to a reply to request headers: from here on no bodies and no request trailers, please.

Response trailers stay: their mode keeps the stream open to the end of the response, which times it.
"""
RESPONSE_HEADERS_ONLY = _override(pb.SEND, pb.SKIP)
"""The same where the access log times the request: nothing but response headers."""
NOTHING_MORE = _override(pb.SKIP, pb.SKIP)
"""The same for a policy that has no tag to read from the response."""


def tag_encoder(name: str) -> Callable[[TagValue], bytes]:
    """A function from a value of the tag `name` to its entry in the dynamic metadata."""
    key = name.encode()
    entry = b"\x0a" + length(len(key)) + key + b"\x12"  # an entry of Struct.fields: 1 the key, 2 the Value
    texts = _Prefixes(b"\x0a", entry, b"\x1a")  # Struct.fields = 1, Value.string_value = 3
    number = _Prefixes(b"\x0a", entry)[1 + _NUMBER.size] + b"\x11"  # Value.number_value = 2

    def encode(value: TagValue) -> bytes:
        if isinstance(value, str):
            text = value[:MAX_VALUE_LENGTH].encode(errors="replace")
            return texts[len(text)] + text
        return number + _NUMBER.pack(value)

    return encode


def record_entry(fields: Mapping[str, str | bool]) -> bytes:
    """The entry of dynamic metadata that Envoy's access log is to bring back."""
    entries = Struct()
    record = entries.fields[RECORD].struct_value
    for name, value in fields.items():
        if isinstance(value, bool):
            record.fields[name].bool_value = value
        else:
            record.fields[name].string_value = value
    return entries.SerializeToString(deterministic=True)


class _Prefixes(dict[int, bytes]):
    """What stands before a content of so many bytes, computed once per size: sizes are few, and bounded."""

    def __init__(self, *keys: bytes) -> None:
        super().__init__()
        self._keys = keys

    def __missing__(self, size: int) -> bytes:
        prefix = b""
        for key in reversed(self._keys):
            prefix = key + length(size + len(prefix)) + prefix
        self[size] = prefix
        return prefix


# ProcessingResponse.dynamic_metadata = 8, Struct.fields = 1 with its key and value, Value.struct_value = 5
_ENTRIES = _Prefixes(b"\x42", b"\x0a", _NAMESPACE_KEY, b"\x2a")


def read_entries(entries: bytes) -> dict[str, TagValue]:
    """The tags in entries of dynamic metadata; what is ours alone is left out."""
    return read_struct(Struct.FromString(entries))


def read_struct(tags: Struct) -> dict[str, TagValue]:
    """The same of what Envoy has made of them."""
    values = {name: _scalar(value) for name, value in tags.fields.items() if name not in _OURS}
    return {name: value for name, value in values.items() if value is not None}


_OURS = frozenset({RECORD, SPAN})


def describe(data: bytes) -> tuple[dict[str, TagValue], Mutation]:
    """What an encoded reply to request headers says: its dynamic metadata and its mutation. For `explain`."""
    reply = pb.ProcessingResponse.FromString(data)
    tags = reply.dynamic_metadata.fields[NAMESPACE].struct_value
    values = {name: _scalar(value) for name, value in tags.fields.items()}
    common = reply.request_headers.response
    headers = common.header_mutation
    mutation = Mutation(
        tuple((option.header.key, option.header.raw_value.decode()) for option in headers.set_headers),
        tuple(headers.remove_headers),
        common.clear_route_cache,
    )
    return {name: value for name, value in values.items() if value is not None}, mutation


def request_headers_message(headers: Iterable[tuple[str, str]], attributes: Mapping[str, TagValue]) -> bytes:
    """What Envoy would send for a request with these headers. For `explain`."""
    message = pb.ProcessingRequest()
    for name, value in headers:
        header = message.request_headers.headers.headers.add()
        header.key = name
        header.raw_value = value.encode()
    fields = message.attributes[ATTRIBUTES_KEY].fields
    for name, item in attributes.items():
        if isinstance(item, str):
            fields[name].string_value = item
        else:
            fields[name].number_value = item
    return message.SerializeToString()


def response_headers_message(status: int) -> bytes:
    """What Envoy would send for a response with this status. For `simulate`."""
    message = pb.ProcessingRequest()
    header = message.response_headers.headers.headers.add()
    header.key = ":status"
    header.raw_value = str(status).encode()
    return message.SerializeToString()
