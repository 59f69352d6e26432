"""What `extproc envoy` is asked for, besides the policy."""

from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum

from extproc.policy.plan import Plan, SpansMode
from extproc.server.address import Address

EXTPROC_CLUSTER = "extproc"
COLLECTOR_CLUSTER = "extproc_otel_collector"

OTLP_PORT = 4317


@dataclass(frozen=True, slots=True)
class Upstream:
    """A service behind Envoy. `name` is its cluster, which a policy's `service` is compared with."""

    name: str
    address: Address
    http2: bool = False


@dataclass(frozen=True, slots=True)
class PathRoute:
    """Requests whose path starts with `prefix` go to `upstream`."""

    prefix: str
    upstream: str


@dataclass(frozen=True, slots=True)
class Collector:
    """Where Envoy sends its own spans, by OTLP/gRPC."""

    address: Address
    tls: bool = False


@dataclass(frozen=True, slots=True)
class ClientTls:
    """How Envoy speaks TLS to extproc: files as Envoy sees them, `certificate` and `key` for mutual TLS."""

    ca: str
    certificate: str = ""
    key: str = ""


class Timings(StrEnum):
    """What times a request: its ext_proc stream, kept open to the end, or Envoy's own access log."""

    STREAM = "stream"
    ACCESS_LOG = "access-log"


@dataclass(frozen=True, slots=True)
class Settings:
    """All that the printed configuration depends on. `endpoints` are the addresses of every worker of extproc."""

    plan: Plan
    endpoints: tuple[Address, ...]
    upstreams: tuple[Upstream, ...] = ()
    routes: tuple[PathRoute, ...] = ()
    edge: bool = False
    fail_open: bool = True
    message_timeout: timedelta = timedelta(milliseconds=200)
    listen: Address = field(default=Address("127.0.0.1", 10000))
    admin: Address = field(default=Address("127.0.0.1", 9901))
    collector: Collector = field(default=Collector(Address("127.0.0.1", OTLP_PORT)))
    tls: ClientTls | None = None
    timings: Timings = Timings.STREAM

    @property
    def emits(self) -> bool:
        """Whether the spans are extproc's own: then Envoy's tracing is neither needed nor touched."""
        return self.plan.mode is SpansMode.EMIT
