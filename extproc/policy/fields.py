"""The kinds of plain value that the document is made of: what each accepts, and what to say when it does not."""

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from extproc.policy.codes import RESERVED_TAG
from extproc.policy.plan import DEFAULT_POLICY
from extproc.policy.problems import FieldError, shown

RESERVED_TAGS = (
    "sampling.policy",
    "sampling.reason",
    "sampling.probability",
    "sampling.dry_run",
    "sampling.dry_run.sampled",
    "span_name",
)
"""What the filter itself answers beside the tags."""

AUDIT_FILE = "/var/log/extproc/audit.jsonl"
"""What examples call the audit file."""

UNTIL = "2030-12-31T00:00:00Z"
"""The moment that examples name."""

LARGEST_EXACT_INTEGER = 2**53
LONGEST_TAG = 256
_LARGEST_PORT = 65535
_HIGHEST_STATUS = 599
_MILLISECONDS = {"ms": 1, "s": 1000, "m": 60_000}
TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, 5.6.2
_HEADER = re.compile(r":?[!#$%&'*+.^_`|~0-9a-z-]+")
UNNAMED = re.compile(r"policies\[[0-9]+\]")
ATTRIBUTE = re.compile(r"[a-z_][a-z0-9_]*(\.[a-z_][a-z0-9_]*)+")
_HEADER_MAPS = ("request.headers", "response.headers", "response.trailers")
CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
STATUS = re.compile(r"(>=|>|)([1-5][0-9][0-9])|([1-5])xx")
DURATION = re.compile(r"(?:>=|>|)([0-9]{1,9}(?:\.[0-9]{1,9})?)(ms|s|m)")
PERCENT = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,4})?)%")
MOMENT = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?([Zz]|[+-][0-9]{2}:[0-9]{2})"
)
_HOST_PORT = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\s:/@\[\]]+):([0-9]{1,5})")


@dataclass(frozen=True, slots=True)
class Says:
    """What an error says of a field: what is expected, and an example as it would stand in the file."""

    expected: str
    example: str


def is_token(text: str) -> bool:
    """Whether `text` is a token of HTTP: what methods, header names and cookie names consist of."""
    return TOKEN.fullmatch(text) is not None


def is_printable(text: str) -> bool:
    """Whether `text` has no control characters and no line breaks."""
    return CONTROL.search(text) is None


def printable(text: str) -> str:
    """Text that can stand on one line."""
    if not text or not is_printable(text):
        raise FieldError("some text without control characters", "letters, digits and spaces")
    return text


def policy_name(text: str) -> str:
    """A policy's name; those that the Plan itself gives are taken."""
    if text == DEFAULT_POLICY or UNNAMED.fullmatch(text):
        meaning = "no policy" if text == DEFAULT_POLICY else "a policy without a name"
        raise FieldError(f"a name other than {text}, which stands for {meaning}", f"name: my-{text.partition('[')[0]}")
    return printable(text)


def tag_name(text: str) -> str:
    """A tag's name; those that the filter itself answers are taken."""
    if len(text) > LONGEST_TAG:
        raise FieldError(f"at most {LONGEST_TAG} characters", "a shorter name", f"{len(text):,}")
    if text in RESERVED_TAGS:
        raise FieldError(f"a name other than {', '.join(RESERVED_TAGS)}", f"tag: my.{text}", code=RESERVED_TAG)
    return printable(text)


def header_name(text: str) -> str:
    """`text` in lower case, as Envoy has it; a pseudo-header such as :path keeps its colon."""
    lowered = text.lower()
    if not _HEADER.fullmatch(lowered):
        raise FieldError("the name of a header", "letters, digits and hyphens")
    return lowered


def cookie_name(text: str) -> str:
    """A cookie's name: unlike a header's its case counts."""
    if not is_token(text):
        raise FieldError("the name of a cookie", "letters, digits and hyphens")
    return text


def envoy_attribute(text: str) -> str:
    """The dotted name of an Envoy attribute with a single value."""
    if text.startswith(_HEADER_MAPS):
        raise FieldError("an attribute with one value", "request_header or response_header as the source")
    if not ATTRIBUTE.fullmatch(text):
        raise FieldError("the name of an Envoy attribute", "attribute: source.address")
    return text


def endpoint(text: str) -> str:
    """Where a collector listens."""
    wrong = FieldError("host:port or an http(s) URL", "endpoint: otel-collector:4317")
    if "://" not in text:
        found = _HOST_PORT.fullmatch(text)
        if not found or not 0 < int(found[2]) <= _LARGEST_PORT:
            raise wrong
        return text
    try:
        url = urlsplit(text)
        good = url.scheme in {"http", "https"} and url.hostname and url.port != 0
    except ValueError:
        good = False
    if not good or not is_printable(text) or " " in text:
        raise wrong
    return text


def store_url(text: str) -> str:
    """Where a Redis listens. What is there instead is not shown, for it may hold a password."""
    try:
        url = urlsplit(text)
        good = url.scheme in {"redis", "rediss"} and url.hostname and url.port != 0
    except ValueError:
        good = False
    if not good or not is_printable(text) or " " in text:
        raise FieldError("a redis:// or rediss:// URL", 'store: "redis://redis:6379/0"', got="something else")
    return text


def file_path(text: str) -> str:
    """Where a file is to be; whether it can be is found when it is opened."""
    if text.endswith("/"):
        raise FieldError("the path of a file", f"file: {text}audit.jsonl")
    return printable(text)


def status_range(value: Any) -> tuple[int, int]:  # noqa: ANN401  any YAML value
    """Lowest and highest of the status codes that `503`, `">500"`, `">=500"` or `5xx` means."""
    found = STATUS.fullmatch(str(value)) if isinstance(value, str | int) else None
    if found is None or value == f">{_HIGHEST_STATUS}":
        expected = f"a status from 100 to {_HIGHEST_STATUS}, a lower bound or a class of them"
        raise FieldError(expected, 'status: ">=500", 503 or 5xx')
    bound, code, hundreds = found.groups()
    if hundreds:
        return int(f"{hundreds}00"), int(f"{hundreds}99")
    lowest = int(code) + (bound == ">")
    return lowest, _HIGHEST_STATUS if bound else lowest


def duration_seconds(value: Any) -> float:  # noqa: ANN401  any YAML value
    """The seconds that `">2s"`, `">=500ms"` or `1m` means: to be exceeded, however it is written."""
    found = DURATION.fullmatch(value) if isinstance(value, str) else None
    seconds = float(found[1]) * _MILLISECONDS[found[2]] / 1000 if found else 0.0
    if not seconds:
        raise FieldError("a duration above zero with its unit: ms, s or m", 'latency: ">2s"')
    return seconds


def interval_seconds(value: Any) -> float:  # noqa: ANN401  any YAML value
    """The seconds that `10s` or `1m` means."""
    found = DURATION.fullmatch(value) if isinstance(value, str) and not value.startswith(">") else None
    seconds = float(found[1]) * _MILLISECONDS[found[2]] / 1000 if found else 0.0
    if seconds < 1:
        raise FieldError("a duration from 1s, with its unit: s or m", "10s")
    return seconds


def percent(value: Any) -> float:  # noqa: ANN401  any YAML value
    """The share that `80%` means."""
    found = PERCENT.fullmatch(value) if isinstance(value, str) else None
    share = float(found[1]) / 100 if found else 2.0
    if share > 1:
        raise FieldError("a percentage from 0% to 100%", "80%")
    return share


def unix_seconds(value: Any) -> float:  # noqa: ANN401  any YAML value
    """The Unix time of a moment by RFC 3339; without an offset from UTC it would be none."""
    try:
        if isinstance(value, str) and MOMENT.fullmatch(value):
            return datetime.fromisoformat(value.upper()).timestamp()
    except ValueError:
        pass  # no day or hour of the calendar
    raise FieldError("a date and time with its offset, by RFC 3339", f"until: {UNTIL}")


def attribute_value(value: Any) -> str:  # noqa: ANN401  any YAML value
    """A resource attribute: a string, whatever it is written as."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str | int | float):
        return str(value)
    raise FieldError("a string, number or boolean", '"text"')


def literal_value(value: Any) -> str | float:  # noqa: ANN401  any YAML value
    """A tag's fixed value. Metadata carries numbers as doubles, so larger integers would change on their way."""
    if isinstance(value, bool):
        raise FieldError("a string or a number", f'"{shown(value)}"')
    if isinstance(value, str) and value:
        return value
    if isinstance(value, int | float) and abs(value) <= LARGEST_EXACT_INTEGER:
        return value if isinstance(value, int) else float(value)
    if isinstance(value, int | float):
        raise FieldError("a number from -2^53 to 2^53", f'"{shown(value)}"')
    raise FieldError("a string or a number", "value: envoy")


def text_value(value: Any) -> Any:  # noqa: ANN401  any YAML value
    """An integer as its text; what else would have to be guessed is refused."""
    if isinstance(value, bool | float):
        raise FieldError("a string", f'"{shown(value)}"')
    return str(value) if isinstance(value, int) else value
