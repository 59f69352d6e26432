"""What an audit record says of a request, and what it does not."""

import pickle
from collections.abc import Mapping
from hashlib import sha256

import pytest

from extproc.engine.audit import AuditRecord
from extproc.engine.exchange import Engine, Exchange
from extproc.engine.outcome import Reason, StreamError
from extproc.policy.load import load_text
from helpers import Scalar, read_reply, request_headers, response_headers

POLICY = """
tracing:
  sampling: {policy: always_off}
  custom_tags:
    - {tag: user_id, request_header: {name: x-user-id}}
    - {tag: token, request_header: {name: authorization}, hash: sha256}
    - {tag: key, request_header: {name: x-api-key, default_value: none}, redact: true}
    - {tag: session, cookie: session}
    - {tag: page, query: page}
    - {tag: peer, attribute: connection.id}
    - {tag: subject, metadata: {metadata_key: {key: jwt, path: [{key: sub}]}}}
    - {tag: answer, response_header: {name: x-who, default_value: nobody}}
    - {tag: fixed, literal: {value: robot}}
  audit: {file: /nowhere/audit.jsonl, user_tag: USER}
  policies:
    - name: orders
      match: {path: "/orders/{order_id}", method: [PUT, PROPFIND]}
      sampling: {policy: always_on}
      custom_tags: [{tag: order_id, path: order_id}]
      audit: true
    - name: named
      match: {path: "/named"}
      span_name: "rename things"
      audit: true
    - name: anything
      match: {host: audited.example.com}
      audit: true
    - name: silent
      match: {path: "/silent"}
"""
TRACE = "0af7651916cd43dd8448eb211c80319c"
BEGUN = f"00-{TRACE}-b7ad6b7169203331-00"
SECRET = {
    "authorization": "Bearer s3cret",
    "cookie": "session=s3cret",
    "x-api-key": "s3cret",
    "x-password": "s3cret",
    "x-user-id": "ann",
}


def engine_of(policy: str = POLICY, user: str = "user_id") -> Engine:
    """An engine for a policy file's text."""
    return Engine(load_text(policy.replace("USER", user).encode(), "policy.yaml", {}))


def asked(  # noqa: PLR0913  what can be varied of a request
    path: str = "/orders/7?page=2&password=s3cret",
    headers: dict[str, str] | None = None,
    *,
    engine: Engine | None = None,
    method: str = "PUT",
    host: str = "shop.example.com",
    begun: str | None = BEGUN,
    logged: bool = False,
    attributes: Mapping[str, Scalar] | None = None,
) -> Exchange:
    """An exchange whose request headers have been answered."""
    exchange = (engine or engine_of()).begin(begun, logged=logged)
    pseudo = {":method": method, ":path": path, ":authority": host, ":scheme": "http"}
    sent = {"source.address": "10.0.0.1:4711", **(attributes or {})}
    exchange.receive(request_headers(pseudo | (SECRET if headers is None else headers), sent, METADATA), 1.0)
    return exchange


METADATA = {"jwt": {"sub": "subject-1"}}
ANSWER = response_headers({":status": "200", "x-who": "the-answer"})


def record_of(exchange: Exchange, response: bytes | None = ANSWER, *, shutdown: bool = False) -> AuditRecord:
    """The record of an exchange that ends now."""
    if response is not None:
        exchange.receive(response, 2.0)
    record = exchange.audit(exchange.finish(3.0, shutdown=shutdown), 1772366400.0, shutdown=shutdown)
    assert record is not None
    return record


def test_record() -> None:
    """Who did what to what, when, from where, how it ended, and what became of the trace."""
    expected = AuditRecord(
        unix_seconds=1772366400.0,
        action="PUT /orders/{order_id}",
        user="ann",
        resource="/orders/7",
        status=200,
        policy="orders",
        reason=Reason.POLICY,
        sampled=True,
        trace_id=TRACE,
        source_address="10.0.0.1",
        error_type=None,
    )
    record = record_of(asked())
    assert expected == record
    assert "s3cret" not in str(record)
    assert record == pickle.loads(pickle.dumps(record))  # noqa: S301  our own


def test_only_policies_that_say_so() -> None:
    """Another policy's request, or one of none, leaves no record."""
    for path in ("/silent", "/unmatched"):
        exchange = asked(path)
        exchange.receive(ANSWER, 2.0)
        outcome = exchange.finish(3.0)
        assert outcome is not None
        assert exchange.audited is None
        assert exchange.audit(outcome, 0.0) is None


@pytest.mark.parametrize(
    ("tag", "user"),
    [
        ("token", sha256(b"Bearer s3cret").hexdigest()),
        ("key", "REDACTED"),
        ("session", "s3cret"),
        ("page", "2"),
        ("peer", "17.0"),
        ("subject", "subject-1"),
        ("answer", "the-answer"),
        ("fixed", "robot"),
        ("order_id", "7"),
    ],
)
def test_user_is_the_tag_that_the_file_names(tag: str, user: str) -> None:
    """Whatever the tag's source, the record has what the span has: redacted and hashed where that is."""
    assert user == record_of(asked(engine=engine_of(user=tag), attributes={"connection.id": 17.0})).user


@pytest.mark.parametrize(
    ("tag", "user"), [("user_id", None), ("key", "none"), ("token", None), ("answer", "nobody"), ("session", None)]
)
def test_without_a_user(tag: str, user: str | None) -> None:
    """Where the tag has no value there is its default, or no user."""
    assert user == record_of(asked(headers={}, engine=engine_of(user=tag)), response_headers({":status": "200"})).user


def test_user_of_a_response_that_never_came() -> None:
    """A tag of the response has nothing to say of a request without one."""
    record = record_of(asked(engine=engine_of(user="answer")), None)
    assert (None, None, "stream_reset") == (record.user, record.status, record.error_type)


def test_user_is_bounded() -> None:
    """A value is cut as it is on the span."""
    assert "u" * 1024 == record_of(asked(headers={"x-user-id": "u" * 5000})).user


@pytest.mark.parametrize(
    ("path", "resource"),
    [
        ("/orders/a?b=c", "/orders/a"),
        ("/orders/a#b?c", "/orders/a"),
        ("/orders/%0a%22", "/orders/%0a%22"),
        ('/orders/a"b\\\n\r\x00\x1b', '/orders/a"b\\\n\r\x00\x1b'),
        ("/orders/" + "a" * 5000 + "?s3cret", "/orders/" + "a" * 1016),
    ],
)
def test_resource(path: str, resource: str) -> None:
    """The path as it came, without its query, and no more of it than 1,024 characters."""
    assert resource == record_of(asked(path)).resource


@pytest.mark.parametrize(
    ("path", "method", "host", "action"),
    [
        ("/orders/7", "PROPFIND", "a", "PROPFIND /orders/{order_id}"),
        ("/named", "POST", "a", "rename things"),
        ("/x", "GET", "audited.example.com", "GET *"),
        ("/x", "M" * 100, "audited.example.com", "M" * 32 + " *"),
    ],
)
def test_action(path: str, method: str, host: str, action: str) -> None:
    """The span's name where the policy gives one, else the method and the path pattern."""
    assert action == record_of(asked(path, method=method, host=host)).action


@pytest.mark.parametrize(
    ("address", "source"),
    [
        ("10.0.0.1:4711", "10.0.0.1"),
        ("[2001:db8::1]:4711", "2001:db8::1"),
        ("/run/envoy.sock", "/run/envoy.sock"),
        ("@a:b", "@a:b"),
        ("", None),
    ],
)
def test_source_address(address: str, source: str | None) -> None:
    """The address without its port, whatever the family; a Unix socket's as it is, and none where Envoy sends none."""
    assert source == record_of(asked(attributes={"source.address": address})).source_address


@pytest.mark.parametrize(
    ("headers", "begun", "expected"),
    [
        ({"traceparent": f"00-{'a' * 32}-{'b' * 16}-00"}, BEGUN, ("a" * 32, Reason.PARENT, False)),
        ({"traceparent": f"00-{'a' * 32}-{'b' * 16}-01"}, BEGUN, ("a" * 32, Reason.PARENT, True)),
        ({"traceparent": "junk"}, BEGUN, (TRACE, Reason.POLICY, True)),
        ({}, "junk", (None, Reason.POLICY, True)),
        ({}, None, (None, Reason.POLICY, True)),
    ],
)
def test_trace(headers: dict[str, str], begun: str | None, expected: tuple[str | None, Reason, bool]) -> None:
    """The caller's trace, else the one that Envoy has begun, else none; and what became of it."""
    record = record_of(asked(headers=headers, begun=begun))
    assert expected == (record.trace_id, record.reason, record.sampled)


def test_how_it_ended() -> None:
    """Status and error are those of the metrics."""
    failed = response_headers({":status": "503"}, {"response.flags": float(0x2)})
    ends = [
        record_of(asked(), failed),
        record_of(asked(), response_headers({":status": "500"})),
        record_of(asked(), None),
        record_of(asked(), None, shutdown=True),
    ]
    expected = [(503, "UH"), (500, "5xx"), (None, "stream_reset"), (None, "server_shutdown")]
    assert expected == [(record.status, record.error_type) for record in ends]


def test_enabled_false_goes_on_auditing() -> None:
    """Who switches tracing off has not said that nobody is to be held to account."""
    disabled = POLICY.replace("tracing:", "tracing:\n  enabled: false")
    for user, expected in (("user_id", "ann"), ("answer", "the-answer")):
        record = record_of(asked(engine=engine_of(disabled, user)))
        assert (expected, Reason.DISABLED, False) == (record.user, record.reason, record.sampled)


@pytest.mark.parametrize("shutdown", [False, True])
def test_request_that_the_access_log_times(*, shutdown: bool) -> None:
    """Where metrics come from the access log, an audited request is still followed to its end; others are not."""
    exchange = engine_of().begin(BEGUN, logged=True)
    sent: dict[str, str | list[str]] = {":method": "PUT", ":path": "/orders/7", ":authority": "a", ":scheme": "http"}
    override = read_reply(exchange.receive(request_headers(sent), 1.0)).override
    assert override is not None
    assert ("SEND", "SEND") == (override.response_header_mode.name, override.response_trailer_mode.name)
    assert 200 == record_of(exchange, shutdown=shutdown).status
    assert exchange.finish(3.0) is None
    lost = record_of(asked(logged=True), None, shutdown=shutdown)
    assert ("server_shutdown" if shutdown else "stream_reset") == lost.error_type
    silent = engine_of().begin(BEGUN, logged=True)
    assert read_reply(silent.receive(request_headers(sent | {":path": "/silent"}), 1.0)).override != override


def test_response_that_cannot_be_read() -> None:
    """It is an error of the stream, counted once, and a record without a status."""
    exchange = asked()
    record = record_of(exchange, b"\x1a\xff")
    assert (None, [StreamError.UNREADABLE]) == (record.status, exchange.errors)
