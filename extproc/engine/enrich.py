"""The tags of a policy, each as a function from what was received to a value."""

from collections.abc import Callable
from hashlib import sha256

from extproc.engine import wire
from extproc.engine.request import Request
from extproc.engine.scan import TagValue
from extproc.policy.plan import PathPattern, Policy, SegmentKind, Tag, TagSource, Transform

REDACTED = "REDACTED"


class Received:
    """What a tag may read: the request, and the message at hand with its attributes and, of a response, its headers."""

    __slots__ = ("attributes", "data", "request", "response_headers")

    def __init__(
        self, request: Request, data: bytes, attributes: dict[str, TagValue], response_headers: dict[str, str]
    ) -> None:
        self.request = request
        self.data = data
        self.attributes = attributes
        self.response_headers = response_headers


_Read = Callable[[Received], TagValue | None]


class Tags:
    """A policy's tags, ready to be encoded.

    Attributes:
        constants: the tags whose value the file and the environment settle.
        in_response: whether some tag has to wait for response headers.
    """

    __slots__ = ("_headers", "_request", "_response", "constants", "in_response")

    def __init__(self, policy: Policy) -> None:
        self.constants: dict[str, TagValue] = {
            tag.name: tag.default for tag in policy.tags if tag.source is TagSource.CONSTANT and tag.default is not None
        }
        read = [tag for tag in policy.tags if tag.source is not TagSource.CONSTANT]
        path = policy.match.path
        # Most tags are plain request headers: they take a loop, the others a few calls each.
        plain = [tag for tag in read if tag.source is TagSource.REQUEST_HEADER and tag.transform is Transform.NONE]
        self._headers = [(tag.key, *_entry(tag)) for tag in plain]
        self._request = [_encoder(tag, path) for tag in read if not tag.in_response and tag not in plain]
        self._response = [_encoder(tag, path) for tag in read if tag.in_response]
        self.in_response = bool(self._response)

    def of_request(self, request: Request, data: bytes, attributes: dict[str, TagValue]) -> bytes:
        """The metadata entries that the request settles."""
        headers, entries = request.headers, b""
        for key, encode, absent in self._headers:
            value = headers.get(key)
            entries += absent if value is None else encode(value)
        if self._request:
            received = Received(request, data, attributes, {})
            for encoded in self._request:
                entries += encoded(received)
        return entries

    def of_response(self, received: Received) -> bytes:
        """The metadata entries that the response settles."""
        return b"".join([encode(received) for encode in self._response])


def value_of(tag: Tag, path: PathPattern | None) -> _Read:
    """A function to the value that this tag has on a span: transformed, and its default where there is none."""
    read = _transformed(_reader(tag, path), tag.transform)

    def value(received: Received) -> TagValue | None:
        found = read(received)
        return tag.default if found is None else found

    return value


def _entry(tag: Tag) -> tuple[Callable[[TagValue], bytes], bytes]:
    """How a value of this tag is encoded, and what stands for a missing one."""
    encode = wire.tag_encoder(tag.name)
    return encode, encode(tag.default) if tag.default is not None else b""


def _encoder(tag: Tag, path: PathPattern | None) -> Callable[[Received], bytes]:
    read = _transformed(_reader(tag, path), tag.transform)
    encode, absent = _entry(tag)

    def encoded(received: Received) -> bytes:
        value = read(received)
        return absent if value is None else encode(value)

    return encoded


def _transformed(read: _Read, transform: Transform) -> _Read:
    if transform is Transform.NONE:
        return read
    if transform is Transform.REDACT:
        return lambda received: None if read(received) is None else REDACTED

    def hashed(received: Received) -> str | None:
        value = read(received)
        return None if value is None else sha256(str(value).encode(errors="replace")).hexdigest()

    return hashed


def _reader(tag: Tag, path: PathPattern | None) -> _Read:  # noqa: PLR0911  one return per source
    key = tag.key
    match tag.source:
        case TagSource.REQUEST_HEADER:
            return lambda received: received.request.headers.get(key)
        case TagSource.RESPONSE_HEADER:
            return lambda received: received.response_headers.get(key)
        case TagSource.ATTRIBUTE:
            return lambda received: received.attributes.get(key)
        case TagSource.METADATA:
            return lambda received: wire.read_metadata(received.data, key, tag.metadata_path)
        case TagSource.QUERY:
            return lambda received: received.request.query.get(key)
        case TagSource.COOKIE:
            return lambda received: received.request.cookie(key)
        case TagSource.PATH:
            position = _capture_position(path, key)
            return lambda received: received.request.segments[position]
        case TagSource.CONSTANT:
            return lambda _: tag.default


def _capture_position(path: PathPattern | None, name: str) -> int:
    """Where the capture `name` stands among a request's segments; counted from the end behind a `**`."""
    if path is not None:
        for position, segment in enumerate(path.head):
            if segment.kind is SegmentKind.CAPTURE and segment.text == name:
                return position
        for position, segment in enumerate(path.tail, start=-len(path.tail)):
            if segment.kind is SegmentKind.CAPTURE and segment.text == name:
                return position
    raise ValueError(f"expected a capture of the policy's path, got {name!r}")
