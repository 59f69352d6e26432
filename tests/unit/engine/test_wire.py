"""The wire subset and its encoders."""

import subprocess
import sys
from pathlib import Path

import pytest
from google.protobuf.struct_pb2 import Struct
from hypothesis import given, settings
from hypothesis import strategies as st

from extproc.engine import access_log_pb2, wire
from extproc.engine import wire_pb2 as pb
from extproc.engine.outcome import Phase
from extproc.engine.scan import ATTRIBUTES_KEY, Head, Scanner
from helpers import read_reply, request_headers

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("name", ["wire", "access_log"])
def test_generated_code_is_up_to_date(tmp_path: Path, name: str) -> None:
    """Generating from proto/ again gives the committed bytes: `make proto` after a change."""
    protoc = [sys.executable, "-m", "grpc_tools.protoc", f"-I{ROOT / 'proto'}"]
    outputs = [f"--python_out={tmp_path}", f"--pyi_out={tmp_path}"]
    subprocess.run([*protoc, *outputs, f"extproc/engine/{name}.proto"], check=True)  # noqa: S603  our own command
    for generated in (f"{name}_pb2.py", f"{name}_pb2.pyi"):
        committed = ROOT / "extproc" / "engine" / generated
        assert committed.read_bytes() == (tmp_path / "extproc" / "engine" / generated).read_bytes()


def test_our_descriptors_clash_with_nobody() -> None:
    """Every message of ours is in our own package, so that another copy of Envoy's can live in the same process."""
    assert "extproc.wire.v1" == pb.DESCRIPTOR.package
    assert "extproc.accesslog.v1" == access_log_pb2.DESCRIPTOR.package


@given(
    st.dictionaries(
        st.text(st.characters(codec="utf-8"), min_size=1, max_size=256),
        st.text(st.characters(codec="utf-8"), max_size=wire.MAX_VALUE_LENGTH) | st.floats(allow_nan=False),
        max_size=8,
    )
)
def test_metadata_is_what_protobuf_would_write(values: dict[str, str | float]) -> None:
    """Entries put together by hand are read back by protobuf as what went in."""
    entries = b"".join(wire.tag_encoder(name)(value) for name, value in values.items())
    reply = pb.ProcessingResponse.FromString(wire.continue_reply(Phase.RESPONSE_HEADERS) + wire.metadata(entries))
    expected = Struct()
    if values:
        expected.update({"extproc": values})
    assert expected == reply.dynamic_metadata
    assert reply.HasField("response_headers")


def test_long_values_are_cut() -> None:
    """A tag carries at most so many characters of what a client sent."""
    reply = wire.continue_reply(Phase.REQUEST_HEADERS) + wire.metadata(wire.tag_encoder("tag")("ß" * 5000))
    assert {"tag": "ß" * wire.MAX_VALUE_LENGTH} == read_reply(reply).metadata


def test_many_large_tags() -> None:
    """All tags together may be longer than one of them."""
    names = [f"tag-{number}" for number in range(64)]
    entries = b"".join(wire.tag_encoder(name)("x" * 1024) for name in names)
    assert set(names) == set(read_reply(wire.continue_reply(Phase.REQUEST_HEADERS) + wire.metadata(entries)).metadata)


def both(message: pb.ProcessingRequest, *wanted: str) -> list[Head]:
    """What is read of a message as Envoy writes it, and of the same written in another order."""
    plain = message.SerializeToString()
    odd = b"\x50\x00" + plain  # observability_mode before the rest: not Envoy's way
    scanner = Scanner(wanted)
    heads = [wire.read(data, scanner)[1] for data in (plain, odd)]
    assert None is scanner.scan(odd)
    return [head for head in heads if isinstance(head, Head)]


@pytest.mark.parametrize("raw", [b"\xff\xfe", b"caf\xe9"])
def test_headers_that_are_no_text(raw: bytes) -> None:
    """Bytes that are not UTF-8 are replaced, never an error."""
    message = pb.ProcessingRequest()
    message.request_headers.headers.headers.add(key="x", raw_value=raw)
    assert [True, True] == ["�" in head.headers["x"] for head in both(message, "x")]


def test_headers_with_value_instead_of_raw_value() -> None:
    """Older Envoys fill `value`."""
    message = pb.ProcessingRequest()
    message.request_headers.headers.headers.add(key="x", value="old")
    message.request_headers.headers.headers.add(key="x", raw_value=b"new")
    message.request_headers.headers.headers.add(key="unwanted", raw_value=b"1")
    assert [{"x": "old,new"}] * 2 == [head.headers for head in both(message, "x")]


def as_struct(values: dict[str, str | float | bool]) -> Struct:
    """A google.protobuf.Struct."""
    built = Struct()
    built.update(values)
    return built


NAMES = ["x", "y", ":path", "a" * 200]
# What Envoy lets into a value: no NUL, CR, LF; lengths of one byte and of more, and those that are a line feed.
values = st.one_of(
    st.binary(max_size=300),
    st.sampled_from([b"v" * 10, b"\x01x\x1a\x01y" * 2, b"w" * (10 << 7), b"z" * 20_000]),
).map(lambda value: value.translate(None, b"\x00\r\n"))
heads = st.builds(
    lambda headers, attributes, end, metadata, mode: pb.ProcessingRequest(
        request_headers=pb.HttpHeaders(
            headers=pb.HeaderMap(headers=[pb.Header(key=name, raw_value=value) for name, value in headers]),
            end_of_stream=end,
        ),
        attributes={} if attributes is None else {ATTRIBUTES_KEY: attributes},
        metadata_context=pb.Metadata(filter_metadata={"n": Struct()}) if metadata else None,
        protocol_config=None if mode is None else pb.ProtocolConfiguration(request_body_mode=mode),
    ),
    st.lists(st.tuples(st.sampled_from(NAMES), values), max_size=6),
    st.none()
    | st.dictionaries(st.sampled_from(NAMES), st.text(max_size=200) | st.floats(allow_nan=False) | st.booleans()).map(
        as_struct
    ),
    st.booleans(),
    st.booleans(),
    st.none() | st.sampled_from([pb.NONE, pb.STREAMED, pb.FULL_DUPLEX_STREAMED]),
)


@settings(max_examples=500)
@given(heads)
def test_scanning_and_building_agree(message: pb.ProcessingRequest) -> None:
    """A message as Envoy writes it reads the same whether it is stepped through or built."""
    first, second = both(message, "x", ":path", "a" * 200)
    assert first.headers == second.headers
    assert first.attributes.values == second.attributes.values
    assert first.bodies == second.bodies


@settings(max_examples=500)
@given(heads, st.integers(0), st.binary(max_size=3), st.integers(0, 3))
def test_scanning_mutilated_messages(message: pb.ProcessingRequest, at: int, junk: bytes, drop: int) -> None:
    """Of a mutilated message stepping through says nothing, or what building it would say, and never raises."""
    data = message.SerializeToString()
    at %= len(data) + 1
    data = data[:at] + junk + data[at + drop :]
    scanner = Scanner(["x", ":path"])
    scanned = scanner.scan(data) if data[:1] == b"\x12" else None
    try:
        built = wire.read(b"\x50\x00" + data, scanner)[1]
    except wire.UnreadableError:
        return  # stepping through looks at less, and may not notice what it steps over
    if scanned is not None and isinstance(built, Head):
        assert built.headers == scanned.headers


def test_what_envoy_sends_is_scanned() -> None:
    """The quick way is the way that is taken: for messages as builders write them, too."""
    message = request_headers({":path": "/", "x": "1"}, {"xds.cluster_name": "up", "n": 2.0}, {"ns": {"a": "b"}})
    scanner = Scanner(["x"])
    for _ in range(2):  # what the attributes say is remembered
        head = scanner.scan(message)
    assert head is not None
    assert ({"x": "1"}, {"xds.cluster_name": "up", "n": 2.0}) == (head.headers, head.attributes.values)


def test_attributes_are_remembered_within_bounds() -> None:
    """However many connections a client opens, what is remembered of them stays small, and right."""
    scanner = Scanner([":path"])
    for number in range(3000):
        head = scanner.scan(request_headers({":path": "/"}, {"source.address": f"10.0.0.1:{number}"}))
        assert head is not None
        assert {"source.address": f"10.0.0.1:{number}"} == head.attributes.values
    assert len(scanner._attributes) <= 1024  # noqa: SLF001  memory is the point


ENVOY_1_40 = (
    b"\x12(\n$\n\x13\n\x05:path\x1a\n/api/x?y=1\n\r\n\x06accept\x1a\x03*/*\x18\x01B\x00"
    b"JD\n\x1benvoy.filters.http.ext_proc\x12%\n#\n\x0esource.address\x12\x11\x1a\x0f127.0.0.1:58994Z\x00"
)


def test_the_shape_of_envoys_own_bytes_is_scanned() -> None:
    """Order and framing as a real Envoy 1.40 writes them: end_of_stream, empty metadata, attributes, empty protocol."""
    assert pb.ProcessingRequest.FromString(ENVOY_1_40).HasField("protocol_config")
    head = Scanner([":path"]).scan(ENVOY_1_40)
    assert head is not None
    assert ({":path": "/api/x?y=1"}, "127.0.0.1:58994") == (head.headers, head.attributes.client)


def test_a_value_can_not_forge_a_header() -> None:
    """Bytes that look like another entry, as far as they may occur in a value, are read as the value that they are."""
    forged = b"\x05:path\x1a\x02/x"
    for value in (forged, b"\x0b" + forged, b"x" * 10 + forged, forged.ljust(10, b"x"), b"\x8a" + forged):
        message = pb.ProcessingRequest()
        message.request_headers.headers.headers.add(key=":path", raw_value=b"/true")
        message.request_headers.headers.headers.add(key="x", raw_value=value)
        assert [{":path": "/true"}] * 2 == [head.headers for head in both(message, ":path")]
