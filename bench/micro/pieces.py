"""The pieces of one request, under names that a regression can be called by.

Hot loops: the figures compare pieces with each other and before with after. What a request costs in a running server,
whose caches are colder, is `python -m bench`'s to say.
"""

from collections.abc import Callable
from functools import cache

from bench.cases import CASES, MAIN, policy_text
from extproc.engine import wire
from extproc.engine import wire_pb2 as pb
from extproc.engine.exchange import Engine
from extproc.engine.outcome import Outcome, Phase
from extproc.engine.request import Request
from extproc.engine.scan import ATTRIBUTES_KEY, TagValue
from extproc.policy.load import load_text
from extproc.telemetry.recorder import Recorder

Call = Callable[[], object]

TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"
SERVICE = "service-17"
PATH = "/api/service-17/42"
HEADERS = {
    ":method": "GET",
    ":authority": "shop.example.com",
    ":scheme": "http",
    "user-agent": "Mozilla/5.0 (X11; Linux x86_64)",
    "accept": "*/*",
    "accept-encoding": "gzip",
    "x-forwarded-for": "10.0.0.1",
    "x-forwarded-proto": "http",
    "x-request-id": "d1a5d34f-1694-4ff8-a5a9-44e930b2f8db",
    "x-user-id": "user-17",
}
ATTRIBUTES: dict[str, TagValue] = {"xds.cluster_name": SERVICE, "source.address": "10.0.0.1:4711"}


def pieces() -> dict[str, Callable[[], Call]]:
    """By name, what makes the thing that is timed."""
    return {
        "read": _read,
        "match": _match,
        "decide": _decide,
        "reply, built": lambda: _built_reply,
        "reply, assembled": _assembled_reply,
        "record": _record,
        "exchange": lambda: lambda: run(engine(), _request(), _response()),
    }


def decision(engine: Engine, headers: dict[str, str], service: str) -> Call:
    """From headers that have been read to a verdict."""
    decider = engine.decider

    def decide() -> object:
        request = Request(headers, service)
        return decider.decide(decider.policy(request), request, None, TRACEPARENT, 0.0)

    return decide


def run(engine: Engine, first: bytes, second: bytes) -> Outcome | None:
    """One exchange."""
    exchange = engine.begin(TRACEPARENT)
    exchange.receive(first, 0.0)
    exchange.receive(second, 1.0)
    return exchange.finish(2.0)


@cache
def engine() -> Engine:
    """50 policies on paths, and two tags."""
    return Engine(load_text(policy_text(CASES[MAIN]).encode(), "policy", {}))


@cache
def _request() -> bytes:
    """Request headers as Envoy sends them."""
    return wire.request_headers_message({":path": PATH, **HEADERS}.items(), ATTRIBUTES)


@cache
def _response() -> bytes:
    """Response headers as Envoy sends them."""
    message = pb.ProcessingRequest()
    for name, value in [(":status", "200"), ("content-type", "text/html"), ("server", "envoy"), ("date", "today")]:
        message.response_headers.headers.headers.add(key=name, raw_value=value.encode())
    message.attributes[ATTRIBUTES_KEY].fields["upstream.address"].string_value = "10.0.0.2:8080"
    return message.SerializeToString()


def _read() -> Call:
    data, scanner = _request(), engine().decider.scanner
    return lambda: wire.read(data, scanner)


def _match() -> Call:
    request, decider = Request({":path": PATH, **HEADERS}, SERVICE), engine().decider
    return lambda: decider.policy(request)


def _decide() -> Call:
    return decision(engine(), {":path": PATH, **HEADERS}, SERVICE)


def _built_reply() -> bytes:
    """The reply of an exchange the plain way: a message is filled and serialized for each request."""
    reply = pb.ProcessingResponse()
    reply.request_headers.SetInParent()
    tags = reply.dynamic_metadata.fields[wire.NAMESPACE].struct_value.fields
    texts = {"sampling.reason": "policy", "sampling.policy": "p", "user_id": "user-17", "m": "e"}
    for name, value in texts.items():
        tags[name].string_value = value
    tags["sampling.probability"].number_value = 0.1
    return reply.SerializeToString()


def _assembled_reply() -> Call:
    """The same reply as the engine writes it."""
    head = wire.headers_reply(Phase.REQUEST_HEADERS)
    settled: dict[str, TagValue] = {
        "sampling.reason": "policy",
        "sampling.policy": "p",
        "m": "e",
        "sampling.probability": 0.1,
    }
    constants = b"".join(wire.tag_encoder(name)(value) for name, value in settled.items())
    encode = wire.tag_encoder("user_id")
    return lambda: head + wire.metadata(constants + encode("user-17"))


def _record() -> Call:
    outcome, recorder = run(engine(), _request(), _response()), Recorder()
    if outcome is None:
        raise RuntimeError("the exchange has no outcome to record")
    return lambda: recorder.request(outcome)
