"""The wire subset and its encoders."""

import subprocess
import sys
from pathlib import Path

import pytest
from google.protobuf.struct_pb2 import Struct
from hypothesis import given
from hypothesis import strategies as st

from extproc.engine import wire
from extproc.engine import wire_pb2 as pb
from extproc.engine.outcome import Phase
from helpers import read_reply

ROOT = Path(__file__).parents[3]


def test_generated_code_is_up_to_date(tmp_path: Path) -> None:
    """Generating from proto/ again gives the committed bytes: `make proto` after a change."""
    protoc = [sys.executable, "-m", "grpc_tools.protoc", f"-I{ROOT / 'proto'}"]
    outputs = [f"--python_out={tmp_path}", f"--pyi_out={tmp_path}"]
    subprocess.run([*protoc, *outputs, "extproc/engine/wire.proto"], check=True)  # noqa: S603  our own command
    for name in ("wire_pb2.py", "wire_pb2.pyi"):
        committed = ROOT / "extproc" / "engine" / name
        assert committed.read_bytes() == (tmp_path / "extproc" / "engine" / name).read_bytes()


def test_our_descriptors_clash_with_nobody() -> None:
    """Every message of ours is in our own package, so that another copy of Envoy's can live in the same process."""
    assert "extproc.wire.v1" == pb.DESCRIPTOR.package


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


@pytest.mark.parametrize("raw", [b"\xff\xfe", b"caf\xe9"])
def test_headers_that_are_no_text(raw: bytes) -> None:
    """Bytes that are not UTF-8 are replaced, never an error."""
    message = pb.ProcessingRequest()
    message.request_headers.headers.headers.add(key="x", raw_value=raw)
    assert "�" in wire.read_headers(message.request_headers, frozenset({"x"}))["x"]


def test_headers_with_value_instead_of_raw_value() -> None:
    """Older Envoys fill `value`."""
    message = pb.ProcessingRequest()
    message.request_headers.headers.headers.add(key="x", value="old")
    message.request_headers.headers.headers.add(key="x", raw_value=b"new")
    message.request_headers.headers.headers.add(key="unwanted", raw_value=b"1")
    assert {"x": "old,new"} == wire.read_headers(message.request_headers, frozenset({"x"}))
