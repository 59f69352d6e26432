"""The keys of a case file: what each is for, and what it may hold."""

from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, PlainValidator

from extproc.policy import fields
from extproc.policy.document import EnvoyAttribute, LiteralValue, Model, TextValue
from extproc.policy.fields import Says
from extproc.policy.problems import FieldError

_ID_DIGITS = 32


def _request_method(text: str) -> str:
    if not fields.is_token(text):
        raise FieldError("an HTTP method", "method: POST")
    return text.upper()


def _request_url(text: str) -> str:
    wrong = FieldError("an http(s) URL", "url: https://shop.example.com/api/orders/7?page=2")
    try:
        url = urlsplit(text)
        good = url.scheme in {"http", "https"} and bool(url.hostname)
    except ValueError:
        good = False
    if not good or not fields.is_printable(text) or " " in text:
        raise wrong
    return text


def _request_path(text: str) -> str:
    if not (text.startswith("/") or text == "*") or not fields.is_printable(text) or " " in text:
        raise FieldError("a path with its query", 'path: "/api/orders/7?page=2"')
    return text


def _request_time(value: Any) -> float:  # noqa: ANN401  any YAML value
    try:
        return fields.unix_seconds(value)
    except FieldError as error:
        raise FieldError(error.expected, f"time: {fields.UNTIL}") from None


def _request_header(text: str) -> str:
    if not fields.is_token(text):
        advice = "method, path or url for pseudo headers" if text.startswith(":") else "letters, digits and hyphens"
        raise FieldError("the name of a header", advice)
    return text.lower()


def _printable(text: str) -> str:
    if not fields.is_printable(text):
        raise FieldError("text without control characters", "letters, digits and spaces")
    return text


def _trace_id(value: Any) -> str:  # noqa: ANN401  any YAML value
    """32 hex digits, also where YAML reads them as a number: it remembers how that was written."""
    lowered = str(value).lower()
    if len(lowered) != _ID_DIGITS or not set(lowered) <= set("0123456789abcdef") or not lowered.strip("0"):
        raise FieldError("32 hex digits that are not all zero", 'trace_id: "4bf92f3577b34da6a3ce929d0e0e4736"')
    return lowered


def _tag_value(value: Any) -> str | float:  # noqa: ANN401  any YAML value
    if isinstance(value, str | int | float) and not isinstance(value, bool):
        return value
    raise FieldError("a string or a number", '"true"' if value is True else "text in quotes")


_Method = Annotated[str, AfterValidator(_request_method), Says("an HTTP method", "POST")]
_Url = Annotated[
    str, AfterValidator(_request_url), Says("an http(s) URL", "https://shop.example.com/api/orders/7?page=2")
]
_Path = Annotated[str, AfterValidator(_request_path), Says("a path with its query", '"/api/orders/7?page=2"')]
_Service = Annotated[str, AfterValidator(_printable), Says("the name of a service", "order-service")]
_HeaderName = Annotated[str, AfterValidator(_request_header), Says("the name of a header", "x-tier")]
_HeaderValue = Annotated[TextValue, AfterValidator(_printable), Says("a string", '"gold"')]
_TraceId = Annotated[
    str,
    PlainValidator(_trace_id, json_schema_input_type=str),
    Says("32 hex digits that are not all zero", '"4bf92f3577b34da6a3ce929d0e0e4736"'),
]
_Time = Annotated[
    float,
    PlainValidator(_request_time, json_schema_input_type=str),
    Says("a date and time with its offset, by RFC 3339", fields.UNTIL),
]
_Name = Annotated[str, AfterValidator(fields.printable), Says("a name", "a checkout is kept")]
_PolicyName = Annotated[str, Says("the name of a policy, or default", "checkout")]
_SpanName = Annotated[str, Says("a span name", '"GET /api/orders/{order_id}"')]
_TagName = Annotated[str, Says("the name of a tag", "user_id")]
_TagValue = Annotated[
    str | float,
    PlainValidator(_tag_value, json_schema_input_type=str | float),
    Says("a string or a number", '"ann"'),
]


class Request(Model):
    """A request, as it would come to Envoy's filter."""

    says = Says("a mapping with path or url", "{path: /api/orders/7}")

    method: _Method = Field(default="GET", description="The HTTP method.")
    path: _Path | None = Field(default=None, description="The path with its query; instead of url.")
    url: _Url | None = Field(default=None, description="A whole URL, whose host is the request's; instead of path.")
    service: _Service = Field(default="", description="The upstream cluster that the route leads to.")
    headers: dict[_HeaderName, _HeaderValue] = Field(default_factory=dict, description="Request headers by name.")
    time: _Time | None = Field(default=None, description="When it comes; absent: before any policy has ended.")
    attributes: dict[EnvoyAttribute, LiteralValue] = Field(
        default_factory=dict, description="What Envoy says of the request, such as source.address."
    )


class TraceTest(Model):
    """What has to become of one trace."""

    says = Says("a mapping with trace_id and exp_sampled", "{trace_id: 4bf92f3577b34da6a3ce929d0e0e4736, ...}")

    trace_id: _TraceId = Field(description="The trace that Envoy has begun for the request.")
    exp_sampled: bool = Field(description="Whether it has to be kept.")


class Test(Model):
    """A request, and what has to become of it."""

    says = Says("a mapping with request and what is expected", "{request: {path: /a}, exp_policy: checkout}")

    name: _Name | None = Field(default=None, description="What a failure calls the test; else tests[N].")
    request: Request = Field(description="The request.")
    exp_policy: _PolicyName | None = Field(default=None, description="The policy that decides; default is none.")
    exp_reason: Literal["parent", "policy", "default", "disabled"] | None = Field(
        default=None, description="Who decides about the trace: the caller, the policy, the default, or nobody."
    )
    exp_sampled: bool | None = Field(default=None, description="Whether every trace is kept, or every one dropped.")
    exp_span_name: _SpanName | None = Field(default=None, description="The span's name.")
    exp_tags: dict[_TagName, _TagValue] | None = Field(
        default=None, description="All tags that the request settles, and no others."
    )
    trace_test: list[TraceTest] = Field(default_factory=list, description="What becomes of traces of these ids.")


class Cases(Model):
    """A case file."""

    says = Says("a mapping with the key tests", "tests: [{request: {path: /a}, exp_policy: checkout}]")

    tests: Annotated[
        list[Test],
        Field(min_length=1),
        Says("a list of tests", "[{request: {path: /a}, exp_policy: checkout}]"),
    ] = Field(description="The tests.")
