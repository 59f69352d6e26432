"""The policy file's keys: what each is for, and what it may hold.

Only the shape of single values is checked here; what keys say about each other is in `rules`. An absent key is None;
a key with nothing behind it is an error, found in `shape`.
"""

from functools import cache
from typing import Annotated, Any, ClassVar, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PlainValidator, ValidationError
from pydantic_core import ErrorDetails

from extproc.policy import fields, patterns
from extproc.policy.fields import Says
from extproc.policy.plan import PathPattern, StringMatch

__all__ = ["Document", "ErrorDetails"]

PolicyName = Annotated[str, AfterValidator(fields.policy_name), Says("a name", "checkout")]
SpanName = Annotated[str, AfterValidator(fields.printable), Says("a span name", '"GET /api/orders/{order_id}"')]
TagName = Annotated[str, AfterValidator(fields.tag_name), Says("the name of a tag", "user_id")]
HeaderName = Annotated[str, AfterValidator(fields.header_name), Says("the name of a header", "x-user-id")]
CookieName = Annotated[str, AfterValidator(fields.cookie_name), Says("the name of a cookie", "plan")]
ParameterName = Annotated[str, AfterValidator(fields.printable), Says("the name of a query parameter", "page")]
CaptureName = Annotated[str, Says("the name of a capture of match.path", "order_id")]
EnvironmentName = Annotated[
    str, AfterValidator(fields.printable), Says("the name of an environment variable", "REGION")
]
MetadataName = Annotated[str, AfterValidator(fields.printable), Says("a metadata key", "envoy.filters.http.jwt_authn")]
EnvoyAttribute = Annotated[str, AfterValidator(fields.envoy_attribute), Says("an Envoy attribute", "source.address")]
ResourceName = Annotated[str, AfterValidator(fields.printable), Says("the name of an attribute", "service.name")]
ResourceValue = Annotated[str, PlainValidator(fields.attribute_value, json_schema_input_type=str | float | bool)]
LiteralValue = Annotated[
    str | float,
    PlainValidator(fields.literal_value, json_schema_input_type=str | float),
    Says("a string or a number", "envoy"),
]
DefaultValue = Annotated[str, Says("a string", '"unknown"')]
TextValue = Annotated[
    str, BeforeValidator(fields.text_value, json_schema_input_type=str | int), Says("a string", '"text"')
]
Endpoint = Annotated[str, AfterValidator(fields.endpoint), Says("host:port or an http(s) URL", "otel-collector:4317")]
FilePath = Annotated[str, AfterValidator(fields.file_path), Says("the path of a file", fields.AUDIT_FILE)]
AuditBytes = Annotated[int, Field(ge=2**16), Says("a whole number of bytes from 65536", "16777216")]
StoreUrl = Annotated[
    str, AfterValidator(fields.store_url), Says("a redis:// or rediss:// URL", '"redis://redis:6379/0"')
]
Replicas = Annotated[int, Field(ge=1), Says("a whole number from 1", "3")]
AuditBackups = Annotated[int, Field(ge=1, le=1000), Says("a whole number from 1 to 1000", "7")]
Statuses = Annotated[
    tuple[int, int],
    PlainValidator(fields.status_range, json_schema_input_type=str | int),
    Says("a status, a lower bound or a class of them", '">=500"'),
]
Latency = Annotated[
    float,
    PlainValidator(fields.duration_seconds, json_schema_input_type=str),
    Says("a duration with its unit", '">2s"'),
]
TracesPerSecond = Annotated[float, Field(gt=0, allow_inf_nan=False), Says("a number above 0", "10")]
Burst = Annotated[int, Field(ge=1), Says("a whole number from 1", "20")]
Interval = Annotated[
    float,
    PlainValidator(fields.interval_seconds, json_schema_input_type=str),
    Says("a duration from 1s", "10s"),
]
Percent = Annotated[
    float, PlainValidator(fields.percent, json_schema_input_type=str), Says("a percentage from 0% to 100%", "80%")
]
KeyPart = Annotated[str, Says("path, service, method or the name of a tag", "path")]
Key = Annotated[list[KeyPart], Field(min_length=1), Says("a list of what tells requests apart", "[path]")]
Until = Annotated[
    float,
    PlainValidator(fields.unix_seconds, json_schema_input_type=str),
    Says("a date and time with its offset, by RFC 3339", fields.UNTIL),
]
Ratio = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False), Says("a number from 0 to 1", "0.05")]


class Model(BaseModel):
    """A mapping of known keys. `only` is said instead of their list where that needs a reason."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, arbitrary_types_allowed=True)
    says: ClassVar[Says] = Says("a mapping", "{}")
    only: ClassVar[str | None] = None


_Root = TypeVar("_Root", bound=Model)


class Collector(Model):
    """Where telemetry goes."""

    says = Says("a mapping with endpoint", "{endpoint: otel-collector:4317}")

    endpoint: Endpoint = Field(description="OTLP receiver: host:port for gRPC, or an http(s) URL.")
    insecure: bool = Field(default=False, description="Connect without TLS; an http:// URL always does.")


class Sampling(Model):
    """How new traces are decided."""

    says = Says("a mapping with policy or ratio", "{policy: probabilistic, ratio: 0.1}")

    policy: Literal["always_on", "always_off", "rate_limited", "reservoir", "adaptive", "probabilistic"] | None = Field(
        default=None,
        description="Keep every new trace, none, a share of them, or so many a second. "
        "`ratio` alone means probabilistic.",
    )
    ratio: Ratio | None = Field(
        default=None,
        description="The share of traces, from 0 to 1, that probabilistic keeps, and reservoir beyond the first.",
    )
    traces_per_second: TracesPerSecond | None = Field(
        default=None, description="How many traces a second rate_limited keeps; how many reservoir keeps at least."
    )
    burst: Burst | None = Field(
        default=None,
        description="How many traces rate_limited keeps at once after a quiet time; absent: those of one second.",
    )
    target_traces_per_second: TracesPerSecond | None = Field(
        default=None, description="How many traces a second adaptive is to keep, by moving its ratio."
    )
    key: Key | None = Field(
        default=None, description="By what adaptive shares its target out: path, service, method or a tag."
    )
    base_ratio: Ratio | None = Field(default=None, description="What adaptive keeps while the CPU has its usual load.")
    min_ratio: Ratio | None = Field(default=None, description="The least that adaptive keeps: while the CPU is busy.")
    max_ratio: Ratio | None = Field(default=None, description="The most that adaptive keeps: while the CPU is quiet.")
    cpu_high: Percent | None = Field(default=None, description="The load above which the CPU is busy; absent: 80%.")
    cpu_low: Percent | None = Field(default=None, description="The load below which the CPU is quiet; absent: 20%.")
    update_interval: Interval | None = Field(
        default=None, description="How often adaptive moves its ratio; absent: 1m by CPU, 10s by a target."
    )
    parent: Literal["respect", "ignore"] = Field(
        default="respect", description="Whether a trace that comes with a sampling decision keeps that decision."
    )


class Spans(Model):
    """Whose spans carry the tags: Envoy's, or our own."""

    says = Says("a mapping with mode", "{mode: annotate}")

    mode: Annotated[Literal["annotate", "emit"], Says("annotate or emit", "annotate")] = Field(
        default="annotate", description="Annotate the spans that Envoy itself emits, or emit our own."
    )


class Operators(Model):
    """One comparison of a string: exactly one of these keys."""

    exact: TextValue | None = Field(default=None, description="The whole string is this.")
    glob: TextValue | None = Field(default=None, description="The whole string is this, with * for any characters.")
    prefix: TextValue | None = Field(default=None, description="The string begins with this.")
    suffix: TextValue | None = Field(default=None, description="The string ends with this.")
    contains: TextValue | None = Field(default=None, description="The string has this in it.")
    regex: TextValue | None = Field(default=None, description="RE2 syntax, matching the whole string.")
    present: bool | None = Field(default=None, description="true: there is a value, whichever; false: there is none.")


_PathField = Annotated[PathPattern, PlainValidator(patterns.path_pattern, json_schema_input_type=str)]
_ServiceField = Annotated[StringMatch, PlainValidator(patterns.service, json_schema_input_type=str)]
_HostField = Annotated[StringMatch, PlainValidator(patterns.host, json_schema_input_type=str)]
_MethodField = Annotated[
    frozenset[str], PlainValidator(patterns.methods, json_schema_input_type=str | int | list[str | int])
]
_TextField = Annotated[
    StringMatch,
    PlainValidator(patterns.string_match, json_schema_input_type=str | int | Operators),
    Says("a string or a mapping with one operator", '"gold"'),
]


class Conditions(Model):
    """The fields by which a request is compared."""

    path: Annotated[_PathField, Says("a path or glob", '"/api/*"')] | None = Field(
        default=None,
        description="Path without its query: * for one segment, ** or a trailing /* for any rest, {name} to capture.",
    )
    service: Annotated[_ServiceField, Says("the name or glob of a service", "order-service")] | None = Field(
        default=None, description="Upstream cluster; _ and - are alike, * stands for any characters."
    )
    method: Annotated[_MethodField, Says("an HTTP method or a list of them", "[GET, POST]")] | None = Field(
        default=None, description="One HTTP method or a list of them."
    )
    host: Annotated[_HostField, Says("a host or glob", '"*.example.com"')] | None = Field(
        default=None, description="The request's host without its port; * stands for any characters."
    )
    headers: dict[HeaderName, _TextField] | None = Field(
        default=None, description="Request headers by name: a value, a glob with *, or one operator."
    )
    query: dict[ParameterName, _TextField] | None = Field(
        default=None, description="Query parameters by name: a value, a glob with *, or one operator."
    )


class Exclusion(Conditions):
    """Conditions of which none may hold."""

    says = Says("a mapping of conditions", '{path: "/health"}')


class Match(Conditions):
    """Conditions that must all hold; none at all matches every request."""

    says = Says("a mapping of conditions", '{path: "/api/*"}')

    not_: Exclusion | None = Field(default=None, alias="not", description="Conditions of which none may hold.")


class HeaderSource(Model):
    """A header's value."""

    says = Says("a mapping with name", "{name: x-user-id}")

    name: HeaderName = Field(description="The header, in any case.")
    default_value: DefaultValue | None = Field(default=None, description="The value where the header is missing.")


class LiteralSource(Model):
    """A value that stands in the file."""

    says = Says("a mapping with value", "{value: envoy}")

    value: LiteralValue = Field(description="The value itself; numbers stay numbers.")


class EnvironmentSource(Model):
    """A variable of the filter's environment, read when the policy is loaded."""

    says = Says("a mapping with name", "{name: REGION}")

    name: EnvironmentName = Field(description="The environment variable.")
    default_value: DefaultValue | None = Field(default=None, description="The value where the variable is not set.")


class MetadataStep(Model):
    """One step into nested metadata."""

    says = Says("a mapping with key", "{key: sub}")

    key: MetadataName = Field(description="The key at this level.")


class MetadataKey(Model):
    """Where a value is found in dynamic metadata."""

    says = Says("a mapping with key and path", "{key: envoy.filters.http.jwt_authn, path: [{key: sub}]}")

    key: MetadataName = Field(description="The namespace, usually a filter's name.")
    path: Annotated[list[MetadataStep], Field(min_length=1), Says("a list with a key", "[{key: sub}]")] = Field(
        description="The keys that lead to the value in that namespace."
    )


class Nothing(Model):
    """A mapping without keys."""


class MetadataKind(Model):
    """Whose metadata: the request's is what an external processor sees."""

    says = Says("a mapping with request", "{request: {}}")
    only = "request, since ext_proc sees only request metadata"

    request: Nothing | None = Field(default=None, description="The dynamic metadata of the request.")


class MetadataSource(Model):
    """A value of the request's dynamic metadata."""

    says = Says("a mapping with metadata_key", "{metadata_key: {key: envoy.lb, path: [{key: canary}]}}")

    kind: MetadataKind | None = Field(default=None, description="request, which is also the default.")
    metadata_key: MetadataKey = Field(description="Where the value is found.")
    default_value: DefaultValue | None = Field(default=None, description="The value where the metadata is missing.")


class CustomTag(Model):
    """A tag on the span: a name and exactly one source."""

    says = Says("a mapping with tag and a source", "{tag: mesh, literal: {value: envoy}}")

    tag: TagName = Field(description="The tag's name.")
    request_header: HeaderSource | None = Field(default=None, description="A request header.")
    response_header: HeaderSource | None = Field(default=None, description="A response header.")
    literal: LiteralSource | None = Field(default=None, description="A fixed value.")
    environment: EnvironmentSource | None = Field(default=None, description="An environment variable.")
    metadata: MetadataSource | None = Field(default=None, description="Dynamic metadata of the request.")
    attribute: EnvoyAttribute | None = Field(default=None, description="An Envoy attribute, such as source.address.")
    path: CaptureName | None = Field(default=None, description="A capture of the policy's own match.path.")
    query: ParameterName | None = Field(default=None, description="A query parameter.")
    cookie: CookieName | None = Field(default=None, description="A cookie of the request.")
    redact: bool = Field(default=False, description="Say only that there was a value.")
    hash: Literal["sha256"] | None = Field(default=None, description="Give the value's SHA-256 in hex instead of it.")


class Audit(Model):
    """Where the records of audited requests go."""

    says = Says("a mapping with file or otlp", f"{{file: {fields.AUDIT_FILE}}}")

    file: FilePath | None = Field(default=None, description="A file of JSON lines, one per request.")
    max_bytes: AuditBytes | None = Field(default=None, description="A file that would grow above this is rotated.")
    backups: AuditBackups | None = Field(default=None, description="How many rotated files are kept.")
    otlp: bool = Field(default=False, description="Send OTLP logs instead, where OTEL_* or `collector` say.")
    user_tag: TagName | None = Field(default=None, description="The tag that says who the user is; absent: user_id.")


class Share(Model):
    """Who shares the rates of this file."""

    says = Says("a mapping with replicas", "{replicas: 3}")

    replicas: Replicas = Field(description="How many replicas of extproc serve by this file; each takes its part.")
    store: StoreUrl | None = Field(
        default=None, description="A Redis or Valkey through which they share by traffic; absent: in equal parts."
    )


class Keep(Model):
    """What makes a response worth a span although its trace was not sampled; one condition is enough."""

    says = Says("a mapping with status or latency", '{status: ">=500"}')

    status: Statuses | None = Field(default=None, description="The status code: 503, '>500', '>=500' or 5xx.")
    latency: Latency | None = Field(default=None, description="What the whole request takes longer than: '>2s'.")


class BoostWhen(Model):
    """What has gone wrong."""

    says = Says("a mapping with status and above", '{status: ">=500", above: 5%, window: 30s}')

    status: Statuses = Field(description="The statuses of failures: 503, '>=500' or 5xx.")
    above: Percent = Field(description="The share of failures among responses that has to be exceeded.")
    window: Interval | None = Field(default=None, description="The time over which that is counted; absent: 30s.")


class Boost(Model):
    """More traces for a while after something has gone wrong."""

    says = Says("a mapping with when", '{when: {status: ">=500", above: 5%}, ratio: 1}')

    when: BoostWhen = Field(description="What sets it off.")
    ratio: Ratio | None = Field(default=None, description="The share of traces that is kept then; absent: 1.")
    for_: Interval | None = Field(default=None, alias="for", description="For how long; absent: 60s.")
    cooldown: Interval | None = Field(default=None, description="The rest before the next boost; absent: 5m.")


class Policy(Model):
    """Which requests, how their new traces are decided, and what their spans are tagged with."""

    says = Says("a mapping with match and sampling", '{match: {path: "/api/*"}, sampling: {ratio: 0.1}}')

    name: PolicyName | None = Field(default=None, description="What metrics and tags call it; else policies[N].")
    match: Match | None = Field(default=None, description="Conditions that must all hold; absent: every request.")
    sampling: Sampling | None = Field(default=None, description="How new traces are decided; absent: as by default.")
    custom_tags: list[CustomTag] | None = Field(default=None, description="Tags beside those for every request.")
    span_name: SpanName | None = Field(default=None, description="The name of the span.")
    keep: Keep | None = Field(default=None, description="Which responses get a span anyway, with spans.mode: emit.")
    audit: bool = Field(default=False, description="Write an audit record of each request.")
    until: Until | None = Field(default=None, description="When the policy ends: from then on it matches nothing.")
    boost: Boost | None = Field(default=None, description="Keep more traces for a while when responses fail.")
    dry_run: bool = Field(default=False, description="Decide, count and tag, but leave the request to other policies.")


class Tracing(Model):
    """Everything there is to say."""

    says = Says("a mapping", "{sampling: {policy: always_on}}")

    enabled: bool = Field(default=True, description="false: decide nothing, tag nothing, only measure.")
    collector: Collector | None = Field(default=None, description="Where telemetry goes; OTEL_* variables win.")
    attributes: dict[ResourceName, Annotated[ResourceValue, Says("a string, number or boolean", "go-envoy-app")]] = (
        Field(default_factory=dict, description="Resource attributes of the telemetry.")
    )
    sampling: Sampling | None = Field(default=None, description="Where no policy matches; absent: always_on.")
    spans: Spans = Field(default_factory=Spans, description="How the tags reach the spans.")
    custom_tags: list[CustomTag] = Field(default_factory=list, description="Tags for every request.")
    audit: Audit | None = Field(default=None, description="Where audit records go, for policies with audit: true.")
    share: Share | None = Field(default=None, description="Who shares the rates; absent: each replica has them whole.")
    policies: list[Policy] = Field(default_factory=list, description="In order: the first that matches decides.")


class Document(Model):
    """A policy file."""

    says = Says("a mapping with the key tracing", "tracing: {sampling: {policy: always_on}}")

    tracing: Tracing = Field(description="The policy.")


@cache
def by_key(model: type[Model]) -> dict[str, Any]:
    """The annotations of `model`'s fields by the key that stands in the file."""
    return {field.alias or name: field.rebuild_annotation() for name, field in model.model_fields.items()}


def validated(data: object, root: type[_Root]) -> tuple[_Root | None, list[ErrorDetails]]:
    """The document, or pydantic's errors."""
    try:
        return root.model_validate(data), []
    except ValidationError as error:
        return None, error.errors(include_url=False)
