"""What the pieces of one request cost, in microseconds, and that the number of policies does not matter.

Hot loops in one process: the figures compare pieces with each other and before with after. What a request costs in a
running server, whose caches are colder, is overhead.py's to say.
"""

import time
import timeit
from collections.abc import Callable

from bench.overhead import policy_text
from extproc.engine import wire
from extproc.engine import wire_pb2 as pb
from extproc.engine.exchange import Engine
from extproc.engine.outcome import Outcome, Phase
from extproc.engine.scan import ATTRIBUTES_KEY, TagValue
from extproc.policy.load import load_text
from extproc.telemetry.recorder import Recorder

REPEATS = 5
NUMBER = 5_000
TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"
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
ATTRIBUTES: dict[str, TagValue] = {"xds.cluster_name": "service", "source.address": "10.0.0.1:4711"}


def request(path: str) -> bytes:
    """Request headers as Envoy sends them."""
    return wire.request_headers_message({":path": path, **HEADERS}.items(), ATTRIBUTES)


def response() -> bytes:
    """Response headers as Envoy sends them."""
    message = pb.ProcessingRequest()
    for name, value in [(":status", "200"), ("content-type", "text/html"), ("server", "envoy"), ("date", "today")]:
        message.response_headers.headers.headers.add(key=name, raw_value=value.encode())
    message.attributes[ATTRIBUTES_KEY].fields["upstream.address"].string_value = "10.0.0.2:8080"
    return message.SerializeToString()


def run(engine: Engine, first: bytes, second: bytes) -> Outcome | None:
    """One exchange."""
    exchange = engine.begin(TRACEPARENT)
    exchange.receive(first, 0.0)
    exchange.receive(second, 1.0)
    return exchange.finish(2.0)


def built_reply() -> bytes:
    """The reply of an exchange the plain way: a message is filled and serialized for each request."""
    reply = pb.ProcessingResponse()
    reply.request_headers.SetInParent()
    tags = reply.dynamic_metadata.fields[wire.NAMESPACE].struct_value.fields
    texts = {"sampling.reason": "policy", "sampling.policy": "p", "user_id": "user-17", "m": "e"}
    for name, value in texts.items():
        tags[name].string_value = value
    tags["sampling.probability"].number_value = 0.1
    return reply.SerializeToString()


def assembled_reply() -> Callable[[], bytes]:
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


def microseconds(function: Callable[[], object]) -> float:
    """The best of some repeats, per call."""
    return min(timeit.repeat(function, number=NUMBER, repeat=REPEATS)) / NUMBER * 1e6


def main() -> None:
    """Measures and prints."""
    first, second, recorder = request("/api/service-17/42"), response(), Recorder()
    engine = Engine(load_text(policy_text(50).encode(), "policy", {}))
    outcome, scanner = run(engine, first, second), engine.decider.scanner
    if outcome is None:
        raise SystemExit("the exchange has no outcome: nothing is measured")
    print("µs per call, 50 policies, 2 tags, 11 request headers")
    print(f"  read                   {microseconds(lambda: wire.read(first, scanner)):6.2f}")
    print(f"  reply, built           {microseconds(built_reply):6.2f}")
    print(f"  reply, assembled       {microseconds(assembled_reply()):6.2f}")
    print(f"  exchange               {microseconds(lambda: run(engine, first, second)):6.2f}")
    print(f"  record                 {microseconds(lambda: recorder.request(outcome)):6.2f}")
    print("by number of policies     load s    exchange µs")
    for count in (1, 10, 100, 1_000, 10_000):
        text = policy_text(count).encode()
        started = time.perf_counter()
        many = Engine(load_text(text, "policy", {}))
        seconds = time.perf_counter() - started
        message = request(f"/api/service-{count // 2}/42")
        cost = microseconds(lambda many=many, message=message: run(many, message, second))  # type: ignore[misc]
        print(f"  {count:6}                {seconds:7.3f}    {cost:8.2f}")


if __name__ == "__main__":
    main()
