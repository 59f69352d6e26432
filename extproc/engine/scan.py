"""Header messages read where they lie, without building them.

Envoy writes its messages in one plain way: fields in the order of their numbers, names before values. Of a message
written so, this picks out what policies want; of any other it says None, and protobuf reads it. Both give the same (a
property test says so). The point is not the few microseconds that a hot loop shows but the memory that is left
untouched: between two requests a server's caches go cold (`python -m bench --only overhead` shows the whole of it).

Headers are found by one regular expression over the header map. Every entry begins with the byte 0x0a, which is a line
feed, and Envoy lets no line feed into the name or the value of a header. So what looks like an entry is one: a client
can't forge the beginning of one inside a value, and where a length happens to be 0x0a no entry can follow from it.
"""

import math
import re
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from extproc.engine.address import split_address
from extproc.engine.flags import error_name

TagValue = str | float

ATTRIBUTES_KEY = "envoy.filters.http.ext_proc"

_ATTRIBUTES_ENTRY = b"\x0a" + bytes([len(ATTRIBUTES_KEY)]) + ATTRIBUTES_KEY.encode() + b"\x12"
# HeaderMap.headers with its length, Header.key with one of the names, Header.raw_value with its length. An empty value
# is not written; whatever else follows the name is not Envoy's way, and does not fit the length that it claims.
_ENTRY = rb"\x0a[\x80-\xff]{0,3}[\x00-\x7f]\x0a(%b)((?:\x1a[\x80-\xff]{0,3}[\x00-\x7f])?)([^\x0a]*)"
_LONGEST_VALUE = 1 << 13
_NUMBER = struct.Struct("<d")
_REMEMBERED = 1024  # different attributes, a few hundred bytes each
_LONGEST = 28  # bits of a varint that are read


@dataclass(frozen=True, slots=True)
class Bodies:
    """How Envoy sends the bodies of one exchange."""

    sent: bool
    request_echoed: bool
    response_echoed: bool


NO_BODIES = Bodies(sent=False, request_echoed=False, response_echoed=False)


class Attributes:
    """Envoy's attributes of one message.

    Attributes:
        values: those that are strings, numbers or booleans (these as `true` and `false`), by name.
        client: address and port of the downstream connection, None where Envoy did not send them.
        service: the upstream cluster's name, "" where Envoy did not send it.
        service_key: the same as it is compared: `_` and `-` are alike.
        upstream_port: of a response, 0 where unknown.
        error: what Envoy says went wrong with a response, None if nothing did.
    """

    __slots__ = ("client", "error", "service", "service_key", "upstream_port", "values")

    def __init__(self, values: dict[str, TagValue]) -> None:
        self.values = values
        self.client = self.text("source.address") or None
        self.service = self.text("xds.cluster_name")
        self.service_key = service_key(self.service)
        self.upstream_port = split_address(self.text("upstream.address"))[1] or 0
        flags = values.get("response.flags")
        bits = int(flags) if isinstance(flags, float) and math.isfinite(flags) else 0
        self.error = error_name(bits, self.text("response.code_details"))

    def text(self, name: str) -> str:
        """A string attribute, "" where there is none."""
        value = self.values.get(name)
        return value if isinstance(value, str) else ""


class Head(NamedTuple):
    """What a message with headers says.

    Attributes:
        headers: the headers that were wanted, by lower-case name; several values of one are joined by `,`.
        attributes: Envoy's attributes.
        bodies: how bodies will come, said by the first message of a stream.
    """

    headers: dict[str, str]
    attributes: Attributes
    bodies: Bodies = NO_BODIES


_new_head = tuple.__new__  # a Head without the call to its constructor


def service_key(service: str) -> str:
    """A service's name as it is compared: `_` and `-` are alike."""
    return service.replace("_", "-")


class Scanner:
    """Reads header messages.

    The attributes of one downstream connection are mostly the same bytes from request to request, so what they say is
    remembered by their bytes.

    Args:
        names: the headers that are wanted, in lower case.
    """

    __slots__ = ("_attributes", "_find", "_names", "wanted")

    def __init__(self, names: Iterable[str]) -> None:
        self.wanted = {name.encode(): name for name in names}
        self._names = {length(len(key)) + key: name for key, name in self.wanted.items()}
        self._find = re.compile(_ENTRY % b"|".join(map(re.escape, self._names)), re.DOTALL).findall
        self._attributes: dict[bytes, Attributes] = {}

    def scan(self, data: bytes) -> Head | None:
        """What `data` says, if it is a headers message as Envoy writes it."""
        try:
            size, position = _varint(data, 1)
            end = position + size
            if data[position] != 0x0A:  # HttpHeaders.headers
                return None
            size, position = _varint(data, position + 1)
            after = position + size
            headers = self._headers(self._find(data, position, after))
            if after != end and not (data[after] == 0x18 and after + 2 == end):  # HttpHeaders.end_of_stream
                return None
            rest = data[end:]
            attributes = self._attributes.get(rest) or self._learn(rest)
        except (IndexError, ValueError, struct.error):
            return None
        if headers is None or attributes is None:
            return None
        return _new_head(Head, (headers, attributes, NO_BODIES))

    def _headers(self, entries: list[tuple[bytes, bytes, bytes]]) -> dict[str, str] | None:
        names = self._names
        found = {
            names[key]: value.decode(errors="replace")
            for key, prefix, value in entries
            if prefix == _VALUE_PREFIXES[len(value)]
        }
        return found if len(found) == len(entries) else self._repeated(entries)

    def _repeated(self, entries: list[tuple[bytes, bytes, bytes]]) -> dict[str, str] | None:
        found: dict[str, str] = {}
        for key, prefix, content in entries:
            if prefix != _VALUE_PREFIXES[len(content)]:
                return None
            name, value = self._names[key], content.decode(errors="replace")
            found[name] = f"{found[name]},{value}" if name in found else value
        return found

    def _learn(self, rest: bytes) -> Attributes | None:
        values = _attributes(rest)
        if values is None:
            return None
        if len(self._attributes) >= _REMEMBERED:
            self._attributes.clear()
        attributes = self._attributes[rest] = Attributes(values)
        return attributes


def _attributes(data: bytes) -> dict[str, TagValue] | None:
    """The attributes, of which a message from Envoy has one entry; anything else but metadata is left to protobuf."""
    found: dict[str, TagValue] = {}
    position, end = 0, len(data)
    while position < end:
        tag = data[position]
        size, position = _varint(data, position + 1)
        after = position + size
        if tag == 0x4A:  # ProcessingRequest.attributes
            if found or not data.startswith(_ATTRIBUTES_ENTRY, position):
                return None
            size, position = _varint(data, position + len(_ATTRIBUTES_ENTRY))
            if position + size != after or not _struct(data, position, after, found):
                return None
        elif tag != 0x42 and not (tag == 0x5A and not size):  # metadata_context is read when a tag asks for it
            return None
        position = after
    return found if position == end else None


def _struct(data: bytes, position: int, end: int, found: dict[str, TagValue]) -> bool:
    while position < end:
        if data[position] != 0x0A:  # Struct.fields
            return False
        size, position = _varint(data, position + 1)
        after = position + size
        if data[position] != 0x0A:  # key
            return False
        size, position = _varint(data, position + 1)
        name = data[position : position + size].decode()
        position += size
        if data[position] != 0x12:  # value
            return False
        size, position = _varint(data, position + 1)
        if position + size != after or not size:
            return False
        kind = data[position]
        if kind == 0x1A:  # string_value
            size, position = _varint(data, position + 1)
            if position + size != after:
                return False
            found[name] = data[position:after].decode()
        elif kind == 0x11 and position + 9 == after:  # number_value
            found[name] = _NUMBER.unpack_from(data, position + 1)[0]
        else:
            return False
        position = after
    return position == end


def _varint(data: bytes, position: int) -> tuple[int, int]:
    """The number at `position`, and the position after it."""
    number = data[position]
    if number < 0x80:
        return number, position + 1
    if data[position + 1] < 0x80:
        return number + (data[position + 1] - 1 << 7), position + 2
    number &= 0x7F
    shift = 7
    while True:
        position += 1
        byte = data[position]
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, position + 1
        shift += 7
        if shift > _LONGEST:
            raise ValueError("no length of ours has so many bits")


def length(number: int) -> bytes:
    """A length as protobuf writes it."""
    encoded = bytearray()
    while number >= 0x80:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes((*encoded, number))


_VALUE_PREFIXES = [b"", *(b"\x1a" + length(size) for size in range(1, _LONGEST_VALUE))]
"""What stands before a header's value, by the value's length in bytes; protobuf reads longer ones."""
