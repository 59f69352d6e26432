"""Every format of access logs says the same of the same requests, and what is none of them says what was expected."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.replay.entry import Entry
from extproc.replay.lines import Line, Logs
from extproc.replay.reading import Reading

LOGS = Path(__file__).parents[2] / "data" / "access_logs"
"""What a real Envoy wrote of eight requests: text, JSON, and OTLP in three forms, by way of a real collector."""
GARBAGE = 1
"""One of these was no HTTP."""


def entries(*names: str) -> list[Entry]:
    """The requests of recorded logs."""
    reading = Reading()
    found = list(reading.entries(Logs([str(LOGS / name) for name in names])))
    assert (0, None) == (reading.bad, reading.first_bad)
    return found


def parsed(content: bytes | str) -> tuple[list[Entry], Reading]:
    """What one line says."""
    reading = Reading()
    line = Line("a.log", 7, content.encode() if isinstance(content, str) else content)
    return list(reading.entries([line])), reading


def one(**values: object) -> Entry:
    """The request of one line of JSON."""
    (found,), _ = parsed(json.dumps({"method": "GET", "path": "/"} | values))
    return found


def seen(entry: Entry) -> tuple[str | None, ...]:
    """What every format has."""
    names = (":method", ":path", ":authority", "user-agent", "x-request-id")
    return tuple(entry.headers.get(name) for name in names)


def test_text() -> None:
    """The default format gives method, path, host, User-Agent and request id, even where Envoy let quotes in."""
    found = entries("text.log")
    request_id = "caa7172d-6f7e-4c91-b596-a78b892c2eab"
    assert ("GET", "/half/0?page=2", "shop.example.com", "Python/3.11 aiohttp/3.14.5", request_id) == seen(found[0])
    assert 'a" "b\\ x' == found[5].headers["user-agent"]
    assert 1795372521.236 == found[0].unix_seconds
    assert [("", True)] * 7 == [(entry.service, entry.drawn) for entry in found]


def test_json() -> None:
    """JSON gives the same, and the service, the trace and further headers."""
    found = entries("json.log")
    assert list(map(seen, entries("text.log"))) == list(map(seen, found))
    assert ["user_service"] * 7 == [entry.service for entry in found]
    assert "e5e8fb95a8778dc4cfcd812a80ed9f8f" == found[0].trace_id
    assert [None, None, None, "gold", "", None, None] == [entry.headers.get("x-tier") for entry in found]


def test_otlp() -> None:
    """So does OTLP, whether a request is in a record's attributes, in its body, or in a body that is a line of text."""
    text, attributes, body = (entries("otlp.jsonl")[start : start + 7] for start in (0, 7, 14))
    for found in (text, attributes, body):
        assert list(map(seen, entries("text.log"))) == list(map(seen, found))
        assert [entry.trace_id for entry in entries("json.log")] == [entry.trace_id for entry in found]
        assert not any(entry.drawn for entry in found)
    assert [entry.headers.get("traceparent") for entry in entries("json.log")] == [
        entry.headers.get("traceparent") for entry in attributes
    ]
    assert abs((attributes[0].unix_seconds or 0) - 1795372521.236) < 0.001


def test_otlp_of_json_text() -> None:
    """A body may also be a line of JSON, as the collector reads it from a container's output."""
    body = (LOGS / "json.log").read_text().splitlines()[0]
    record = {"body": {"stringValue": body}, "attributes": [{"key": "log.file.name", "value": {"stringValue": "x"}}]}
    (found,), _ = parsed(json.dumps({"resourceLogs": [{"scopeLogs": [{"logRecords": [record]}]}]}))
    assert entries("json.log")[0].headers | {"log.file.name": "x"} == found.headers


def test_what_never_was_a_request_is_counted() -> None:
    """Bytes that are no HTTP leave a line without a method: it never came to a filter."""
    reading = Reading()
    list(reading.entries(Logs([str(LOGS / name) for name in ("text.log", "json.log", "otlp.jsonl")])))
    assert (8 + 8 + 3, 0) == (reading.lines, reading.bad)
    assert (7 * 5, 5 * GARBAGE) == (reading.requests, reading.skipped)
    assert 7 == reading.drawn


def test_a_caller_is_followed_only_where_the_log_says_so() -> None:
    """The logged traceparent is Envoy's own: it is a parent where sampling_reason is `parent`, else only an id."""
    parent = "00-0af7651916cd43dd8448eb211c80319c-0737b10cc910ccbb-01"
    assert [None] * 5 + [parent] == [entry.headers.get("traceparent") for entry in entries("json.log")][:6]
    for reason in ("policy", "default", None):
        found = one(traceparent=parent, sampling_reason=reason)
        assert (None, parent[3:35]) == (found.headers.get("traceparent"), found.trace_id)
    assert parent == one(traceparent=parent, extproc={"sampling.reason": "parent"}).headers["traceparent"]


@pytest.mark.parametrize(
    ("values", "trace_id"),
    [
        ({"trace_id": "E5E8FB95A8778DC4CFCD812A80ED9F8F"}, "e5e8fb95a8778dc4cfcd812a80ed9f8f"),
        ({"x-b3-traceid": "cfcd812a80ed9f8f"}, "0000000000000000cfcd812a80ed9f8f"),
        ({"trace_id": "", "traceId": "cfcd812a80ed9f8f"}, None),
        ({"trace_id": "0" * 32}, None),
        ({"traceparent": "00-" + "0" * 32 + "-0737b10cc910ccbb-01"}, None),
    ],
)
def test_trace_ids(values: dict[str, object], trace_id: str | None) -> None:
    """A trace id is one of W3C or of Zipkin; where there is none one is drawn."""
    found = one(**values)
    assert (trace_id is None) == found.drawn
    assert trace_id in {None, found.trace_id}


def test_drawn_ids() -> None:
    """A drawn id depends on the request id alone where there is one, else on the whole line, and never on chance."""
    assert one(request_id="a", path="/1").trace_id == one(x_request_id="a", path="/2").trace_id
    assert one(request_id="a").trace_id != one(request_id="b").trace_id
    assert one(path="/1").trace_id == one(path="/1").trace_id
    assert one(path="/1").trace_id != one(path="/2").trace_id
    assert "0b2f7079c13bd3d919a1df9c8e2c7304" == one(request_id="63c5d940-e678-4050-aaf7-dec8415dde3b").trace_id


def test_drawn_ids_are_even() -> None:
    """Of many drawn ids a tenth is in each tenth of the range."""
    tenths = [0] * 10
    for number in range(5000):
        tenths[int(one(request_id=str(number)).trace_id[-14:], 16) * 10 >> 56] += 1
    assert all(abs(count - 500) < 110 for count in tenths), tenths  # five standard deviations


@pytest.mark.parametrize(
    "keys",
    [
        {"method": "M", "path": "P", "authority": "H", "upstream_cluster": "S", "start_time": "T"},
        {":method": "M", ":path": "P", ":authority": "H", "upstream-cluster": "S", "@timestamp": "T"},
        {"method": "M", "x-envoy-origin-path": "P", ":authority": "H", "upstream_cluster": "S", "start_time": "T"},
        {"METHOD": "M", "X_ENVOY_ORIGINAL_PATH": "P", "path": "/rewritten", "Host": "H", "upstream_cluster": "S"},
        {"method": "M", "path": "P", "x-envoy-original-path": None, "host": "H", "upstream_cluster": "S"},
    ],
)
def test_usual_keys(keys: dict[str, str]) -> None:
    """The keys of usual configurations mean the same."""
    values = {"M": "PUT", "P": "/a?b=c", "H": "h:80", "S": "orders", "T": "2026-03-01T12:00:00Z"}
    (found,), _ = parsed(json.dumps({key: values.get(value, value) for key, value in keys.items()}))
    names = (":method", ":path", ":authority")
    assert ("PUT", "/a?b=c", "h:80", "orders") == (*(found.headers[name] for name in names), found.service)
    assert (1772366400.0 if "T" in keys.values() else None) == found.unix_seconds


@pytest.mark.parametrize(
    ("time", "seconds"),
    [
        ("2026-03-01T12:00:00.123Z", 1772366400.123),
        ("2026-03-01T13:00:00+01:00", 1772366400.0),
        ("2026-03-01T12:00:00", 1772366400.0),
        ("1772366400.5", 1772366400.5),
        (1772366400, 1772366400.0),
        ("1772366400123", None),
        ("nan", None),
        ("-5", None),
        ("yesterday-ish", None),
        ("", None),
        ("-", None),
        (None, None),
        ([], None),
    ],
)
def test_times(time: object, seconds: float | None) -> None:
    """A time is ISO 8601, in UTC where it says no zone, or seconds since 1970; anything else is none."""
    assert seconds == one(start_time=time).unix_seconds


def test_values() -> None:
    """Numbers and booleans are their texts, `-` and null are nothing, and half characters do no harm."""
    found = one(x_a=1, x_b=True, x_c="-", x_d=None, x_e="", x_f=["x"], x_g="\ud800")
    assert {"x-a": "1", "x-b": "true", "x-e": "", "x-g": "?"} == {
        name: value for name, value in found.headers.items() if name.startswith("x-")
    }


def test_only_the_end_of_a_request_counts() -> None:
    """Envoy may log a request several times while it lasts; each is counted once."""
    for kind, count in (("DownstreamStart", 0), ("DownstreamPeriodic", 0), ("DownstreamEnd", 1), (None, 1)):
        found, reading = parsed(json.dumps({"method": "GET", "path": "/", "access_log_type": kind}))
        assert (count, 1 - count) == (len(found), reading.skipped)


def otlp_line(**record: object) -> str:
    """A log record with the attribute method, but for what is given."""
    attributes = [{"key": "method", "value": {"stringValue": "GET"}}]
    return json.dumps({"resourceLogs": [{"scopeLogs": [{"logRecords": [{"attributes": attributes} | record]}]}]})


BAD = [
    ("hello", "an access log in Envoy's default format, as JSON lines or as OTLP JSON lines, got 'hello'"),
    ("\x1b[31m", r"as OTLP JSON lines, got '\x1b[31m'"),
    ("[info] hello", "expected Envoy's default access log format, got '[info] hello'"),
    ('[x] "GET / HTTP/1.1" 200 - 0 2 12 5 "-" "-" "-"', "expected Envoy's default access log format"),
    ('[x] "GET / HTTP/1.1" 200 - 0 2 12 5 "-" "-" "-" "-" -', "expected Envoy's default access log format"),
    ('[{"method": "GET"}]', "expected Envoy's default access log format"),
    ('{"method": "GET"', 'expected a JSON object, got \'{"method": "GET"\'; try a whole line'),
    ('{"a": ' + "[" * 100_000, "expected a JSON object"),
    ('{"a": 1' + "0" * 5000 + "}", "expected a JSON object"),
    ('{"msg": "started", "level": 1}', "expected the keys method and path, got 'msg', 'level'; try method:"),
    ("{}", "expected the keys method and path, got none"),
    ('{"resourceLogs": []}', "expected log records with the attribute method, got none"),
    ('{"resourceLogs": 5}', "expected OTLP's JSON for logs, got something else"),
    ('{"resourceLogs": [{"scopeLogs": [{"logRecords": [{"body": []}, 5]}]}]}', "expected OTLP's JSON for logs"),
    (otlp_line(timeUnixNano="x" * 9999), "expected OTLP's JSON for logs, got something else (invalid literal"),
    (otlp_line(timeUnixNano=10**400), "expected OTLP's JSON for logs, got something else (int too large"),
    (otlp_line(attributes=[{"value": {}}]), "expected OTLP's JSON for logs, got something else ('key')"),
]


@pytest.mark.parametrize(("line", "message"), BAD, ids=range(len(BAD)))
def test_bad_lines(line: str, message: str) -> None:
    """What is no access log is counted, with the place and what was expected."""
    found, reading = parsed(line)
    assert ([], 1, 1) == (found, reading.lines, reading.bad)
    assert str(reading.first_bad).startswith("a.log:7: expected ")
    assert message in str(reading.first_bad)
    assert len(str(reading.first_bad)) < 400
    assert reading.failed


def test_the_first_bad_line_is_kept() -> None:
    """Of many bad lines the first is named; good ones make the log a log."""
    reading = Reading()
    content = [b"x", b"y", b'{"method": "GET", "path": "/"}']
    found = list(reading.entries(Line("a", number, text) for number, text in enumerate(content, 1)))
    assert (1, 2, False) == (len(found), reading.bad, reading.failed)
    assert "2 of 3 lines left out; the first: a:1: expected" in reading.complaint


def test_an_empty_log_is_no_mistake() -> None:
    """Nothing to read is nothing wrong."""
    reading = Reading()
    assert [] == list(reading.entries([]))
    assert not reading.failed
    assert "" == reading.complaint


TEXT = st.text(st.sampled_from('aä€\U0001f94b\ud800\x00\x1b"-:/[{0 '), max_size=5)
JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=10,
)
KEYS = ("method", "path", "traceparent", "trace_id", "start_time", "sampling_reason", "extproc", "x_tier", "host")
OTLP_PART = st.dictionaries(st.sampled_from(("key", "value", "stringValue", "values", "kvlistValue")), JSON)


@given(st.dictionaries(st.sampled_from(KEYS), JSON))
def test_no_json_line_is_too_odd(data: dict[str, Any]) -> None:
    """Whatever stands behind the keys, a line is a request, none, or bad."""
    found, reading = parsed(json.dumps(data))
    assert 1 == len(found) + reading.skipped + reading.bad


@given(st.lists(JSON | st.fixed_dictionaries({"attributes": st.lists(OTLP_PART), "body": OTLP_PART | JSON})))
def test_no_otlp_line_is_too_odd(records: list[Any]) -> None:
    """The same of OTLP."""
    found, reading = parsed(json.dumps({"resourceLogs": [{"scopeLogs": [{"logRecords": records}]}]}))
    assert found or reading.bad or reading.skipped


@given(st.binary() | st.text(alphabet='[]"- {}GETHP/1.0:\\').map(str.encode))
def test_no_bytes_are_too_odd(content: bytes) -> None:
    """The same of bytes."""
    found, reading = parsed(content)
    assert 1 == len(found) + reading.skipped + reading.bad


def test_recorded_logs_are_read_packed(tmp_path: Path) -> None:
    """A rotated and packed log says the same."""
    packed = tmp_path / "json.log.1.gz"
    packed.write_bytes(gzip.compress((LOGS / "json.log").read_bytes()))
    reading = Reading()
    found = list(reading.entries(Logs([str(packed)])))
    assert [entry._replace(file="") for entry in entries("json.log")] == [entry._replace(file="") for entry in found]
