"""The names that spans of our own have anyway are those that the engine writes."""

from extproc.engine.exchange import Engine
from extproc.lint.tags import OUR_ATTRIBUTES
from extproc.policy.load import load_text
from helpers import request_headers, response_headers

POLICY = b"tracing: {spans: {mode: emit}, policies: [{match: {path: /a}, sampling: {policy: always_on}}]}\n"


def test_every_attribute_of_a_span_is_a_taken_name() -> None:
    """A request that shows everything a span can have has these attributes and what was decided, and nothing else."""
    engine = Engine(load_text(POLICY, "policy.yaml", {}))
    headers = {":method": "BREW", ":path": "/a", ":scheme": "https", ":authority": "a.example:8443", "user-agent": "b"}
    exchange = engine.begin(None)
    exchange.receive(request_headers(headers, {"source.address": "10.0.0.1:4711"}), 1.0)
    exchange.receive(response_headers({":status": "503"}), 2.0)
    outcome = exchange.finish(3.0)
    assert outcome is not None

    span = exchange.span(outcome, 0)

    assert span is not None
    assert OUR_ATTRIBUTES == {name for name in span.attributes if not name.startswith("sampling.")}
