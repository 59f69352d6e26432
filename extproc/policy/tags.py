"""One item of `custom_tags` as the Plan's Tag."""

from collections.abc import Mapping
from hashlib import sha256

from extproc.policy.document import CustomTag, EnvironmentSource, MetadataSource
from extproc.policy.plan import Tag, TagSource, Transform

REDACTED = "REDACTED"


def compiled_tag(tag: CustomTag, environ: Mapping[str, str]) -> Tag | None:
    """The tag, or None where it is an unset environment variable without a default."""
    transform = _transform(tag)
    if tag.literal is not None:
        return _constant(tag.tag, _transformed(tag.literal.value, transform))
    if tag.environment is not None:
        return _constant(tag.tag, _environment(tag.environment, environ, transform))
    if tag.metadata is not None:
        return _metadata(tag.tag, tag.metadata, transform)
    source, key, default = _plain_source(tag)
    return Tag(tag.tag, source, key, default=default, transform=transform)


def _transform(tag: CustomTag) -> Transform:
    if tag.redact:
        return Transform.REDACT
    return Transform.SHA256 if tag.hash else Transform.NONE


def _constant(name: str, value: str | float | None) -> Tag | None:
    return None if value is None else Tag(name, TagSource.CONSTANT, default=value)


def _environment(source: EnvironmentSource, environ: Mapping[str, str], transform: Transform) -> str | float | None:
    value = environ.get(source.name)
    if value is None:
        return source.default_value
    return _transformed(value.encode(errors="replace").decode(), transform)  # what is no UTF-8 cannot be sent


def _transformed(value: str | float, transform: Transform) -> str | float:
    """What the engine would do to the value of a request; a constant need not wait for one."""
    if transform is Transform.REDACT:
        return REDACTED
    return sha256(str(value).encode()).hexdigest() if transform is Transform.SHA256 else value


def _metadata(name: str, source: MetadataSource, transform: Transform) -> Tag:
    path = tuple(step.key for step in source.metadata_key.path)
    return Tag(name, TagSource.METADATA, source.metadata_key.key, path, source.default_value, transform)


def _plain_source(tag: CustomTag) -> tuple[TagSource, str, str | None]:
    if tag.request_header is not None:
        return TagSource.REQUEST_HEADER, tag.request_header.name, tag.request_header.default_value
    if tag.response_header is not None:
        return TagSource.RESPONSE_HEADER, tag.response_header.name, tag.response_header.default_value
    for source in (TagSource.ATTRIBUTE, TagSource.PATH, TagSource.QUERY, TagSource.COOKIE):
        key = getattr(tag, source.value)
        if key is not None:
            return source, key, None
    raise AssertionError(tag)  # the rules let exactly one source pass
