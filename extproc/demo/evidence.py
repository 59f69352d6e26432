"""What one run of the demo saw from three sides: its own client, the upstreams, and the OTLP receiver."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from extproc.demo.otlp_receiver import Value


@dataclass(frozen=True, slots=True)
class Parent:
    """The caller's trace that a request came with. `trace_id` is 32 hex digits."""

    trace_id: str
    sampled: bool


@dataclass(frozen=True, slots=True)
class Sent:
    """One request that the client sent through Envoy.

    `policy` is the one that has to decide on it and `tags` what its span has to carry, both by how the request was
    made. `status` is None if there was no answer; `served` says that the answer is an upstream's to this request.
    """

    demo_id: str
    policy: str
    tags: Mapping[str, str]
    parent: Parent | None = None
    status: int | None = None
    served: bool = False


@dataclass(frozen=True, slots=True)
class Seen:
    """One request that reached an upstream, with the trace id and the sampled flag that it carried."""

    demo_id: str
    service: str
    trace_id: str
    sampled: bool
    status: int


@dataclass(frozen=True, slots=True)
class SpanSeen:
    """One span that reached the receiver."""

    trace_id: str
    name: str
    server: bool
    tags: Mapping[str, Value]
    seconds: float


@dataclass(frozen=True, slots=True)
class Buckets:
    """A histogram's points added up: `counts` has one more than `bounds`, which are inclusive upper ones, seconds."""

    bounds: tuple[float, ...]
    counts: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Evidence:
    """Everything that is judged and shown.

    `ratios` are the policies' in the file's order, the default last. `requests_counted` and `decisions_counted`, by
    policy, reason and fate, are extproc's metrics; `upstream` and `downstream` its latency by service.
    """

    ratios: Mapping[str, float]
    sent: tuple[Sent, ...]
    seen: tuple[Seen, ...]
    spans: tuple[SpanSeen, ...]
    requests_counted: int
    decisions_counted: Mapping[tuple[str, str, bool], int]
    upstream: Mapping[str, Buckets] = field(default_factory=dict)
    downstream: Mapping[str, Buckets] = field(default_factory=dict)
