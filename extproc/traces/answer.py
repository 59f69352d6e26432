"""What Jaeger's query API answers, checked while it is read: nothing in it is trusted to be what it should be."""

from typing import Annotated, Final, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from extproc.traces.trace import Span, TagValue, Trace

_YEAR_10000_US: Final = 253_402_300_800_000_000
"""Python's calendar ends there, and so does what is worth showing."""

_Microseconds = Annotated[int, Field(ge=0, lt=_YEAR_10000_US)]
_Id = Annotated[str, Field(pattern=r"^[0-9a-f]{1,32}$")]


class _Part(BaseModel):
    model_config = ConfigDict(strict=True, allow_inf_nan=False)


class _Tag(_Part):
    key: str
    value: TagValue = None


class _Reference(_Part):
    kind: str = Field(alias="refType")
    trace_id: _Id = Field(alias="traceID")
    span_id: _Id = Field(alias="spanID")


class _Span(_Part):
    span_id: _Id = Field(alias="spanID")
    process_id: str = Field(alias="processID")
    operation: str = Field(alias="operationName")
    references: list[_Reference] | None = None
    start_us: _Microseconds = Field(alias="startTime")
    duration_us: _Microseconds = Field(alias="duration")
    tags: list[_Tag] | None = None


class _Process(_Part):
    service: str = Field(alias="serviceName")


class _Trace(_Part):
    trace_id: _Id = Field(alias="traceID")
    spans: list[_Span]
    processes: dict[str, _Process]


class _Traces(_Part):
    data: list[_Trace] | None


class _Services(_Part):
    data: list[str] | None


class _Error(_Part):
    message: str = Field(alias="msg")


class _Errors(_Part):
    errors: list[_Error] = Field(min_length=1)


_Shape = TypeVar("_Shape", bound=_Part)


def read_traces(body: bytes) -> tuple[Trace, ...]:
    """Return the traces of an answer from /api/traces, those that began last first.

    Raises:
        ValueError: it is not such an answer; the text says where.
    """
    found = [_trace(trace) for trace in _read(_Traces, body).data or () if trace.spans]
    return tuple(sorted(found, key=lambda trace: trace.start_us, reverse=True))


def read_services(body: bytes) -> tuple[str, ...]:
    """Return the names in an answer from /api/services.

    Raises:
        ValueError: it is not such an answer; the text says where.
    """
    return tuple(_read(_Services, body).data or ())


def read_error(body: bytes) -> str | None:
    """Return what Jaeger says went wrong; None if this is not how Jaeger says it."""
    try:
        return _read(_Errors, body).errors[0].message
    except ValueError:
        return None


def _read(shape: type[_Shape], body: bytes) -> _Shape:
    try:
        return shape.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        place = ".".join(str(step) for step in first["loc"])
        raise ValueError(f"{place}: {first['msg']}" if place else first["msg"]) from None


def _trace(trace: _Trace) -> Trace:
    spans = (_span(span, trace) for span in trace.spans)
    return Trace(trace.trace_id.zfill(32), tuple(sorted(spans, key=lambda span: span.start_us)))


def _span(span: _Span, trace: _Trace) -> Span:
    process = trace.processes.get(span.process_id)
    parents = (
        reference.span_id
        for reference in span.references or ()
        if reference.kind == "CHILD_OF" and reference.trace_id == trace.trace_id
    )
    return Span(
        span_id=span.span_id,
        parent_id=next(parents, None),
        service=process.service if process else "",
        operation=span.operation,
        start_us=span.start_us,
        duration_us=span.duration_us,
        tags={tag.key: tag.value for tag in span.tags or ()},
    )
