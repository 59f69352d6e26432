"""Access logs as OTLP: what Envoy's OpenTelemetry access logger sends, as the collector's file exporter writes it.

A line is a batch of log records. A request is in a record's attributes, in its body where that is a list of keys and
values, or in a body that is one line of text or JSON.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from extproc.policy.problems import sentence, shortened
from extproc.replay import json_format, text_format
from extproc.replay.fields import METHOD, START_TIME, TRACE_ID, Fields, LineError, add

ROOT: Final = "resourceLogs"
_SCALARS: Final = ("stringValue", "intValue", "doubleValue", "boolValue")


def parse(data: Mapping[str, Any]) -> list[Fields]:
    """The fields of each request in a batch; records of anything else are left out. Raises LineError if all are."""
    try:
        found = [fields for record in _records(data) if (fields := _fields(record)) is not None]
    except (ArithmeticError, AttributeError, KeyError, TypeError, ValueError) as error:
        got = f"something else ({shortened(str(error))})"
        raise LineError(sentence("OTLP's JSON for logs", got, "the collector's file exporter")) from None
    if not found:
        expected = "log records with the attribute method"
        raise LineError(sentence(expected, "none", "attributes in Envoy's access logger"))
    return found


def _records(data: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for resource in data[ROOT]:
        for scope in resource.get("scopeLogs", ()):
            yield from scope.get("logRecords", ())


def _fields(record: Mapping[str, Any]) -> Fields | None:
    body = record.get("body") or {}
    fields = _body(body["stringValue"]) if "stringValue" in body else {}
    for pair in (*record.get("attributes", ()), *body.get("kvlistValue", {}).get("values", ())):
        value = pair.get("value") or {}
        add(fields, pair["key"], next((value[kind] for kind in _SCALARS if kind in value), None))
    if METHOD not in fields:
        return None
    if record.get("traceId"):
        add(fields, TRACE_ID, record["traceId"])
    if nanos := int(record.get("timeUnixNano") or 0):
        add(fields, START_TIME, f"{nanos / 1e9:.6f}")
    return fields


def _body(text: str) -> Fields:
    """What a body of text says; nothing where it is no request's."""
    text = text.strip()
    try:
        return json_format.parse(json_format.load(text)) if text.startswith("{") else text_format.parse(text)
    except LineError:
        return {}
