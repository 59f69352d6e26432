"""A case that runs: its server, its Envoy, and what is read off them while load goes through."""

import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from bench import gateway, tools
from bench.cases import ECHOES, Case, Plain, Server, policy_text
from bench.load import Load, send
from bench.processes import BenchError, Program, answers, envoy, free_ports, get, listens, started
from bench.results import Sample

_CHECKS = 60  # requests; at a ratio of 0.1 two of a thousand such sets hold no kept trace
_BROKEN = (
    "failure_mode_allowed",
    "message_timeouts",
    "streams_failed",
    "spurious_msgs_received",
    "rejected_header_mutations",
)
"""Counters of Envoy's ext_proc filter that say that a request went wrong, even if it was answered with 200."""


@dataclass(frozen=True, slots=True)
class Shared:
    """What all cases share: the ports of the `upstream` and of the OTLP receiver."""

    upstream: int
    sink: int


@dataclass(frozen=True, slots=True)
class Bed:
    """A case that is ready for requests."""

    case: Case
    port: int
    admin: int
    gateway: Program
    server: Program | None
    folder: Path

    def measure(self, load: Load, seconds: float, first: int = 0) -> Sample:
        """Send load, and return what it cost; `failures` counts what Envoy let through unserved, too."""
        broken = self._broken()
        envoy_before, server_before = self.gateway.cpu_seconds(), self._server_cpu()
        outcome = send(self.port, load, seconds, self.folder, first)
        envoy_cpu, server_cpu = self.gateway.cpu_seconds() - envoy_before, self._server_cpu() - server_before
        return {
            **asdict(outcome),
            "failures": outcome.failures + self._broken() - broken,
            "throughput": outcome.throughput,
            "envoy_us": envoy_cpu / outcome.requests * 1e6,
            "server_us": server_cpu / outcome.requests * 1e6,
            "envoy_mib": self.gateway.resident_mib(),
            "server_mib": self.server.resident_mib() if self.server else 0.0,
        }

    def check(self) -> None:
        """Make sure that requests are answered and that the job is done.

        Raises:
            BenchError: it is not.
        """
        traces = [self._checked() for _ in range(_CHECKS)]
        if self.case.server != Server.NONE and self._counter("ext_proc.streams_started") < _CHECKS:
            raise BenchError("Envoy has not called the server for each request")
        if self._broken():
            raise BenchError(f"Envoy counts something of {', '.join(_BROKEN)}")
        if self.case.server not in {Server.NONE, *ECHOES}:
            _check_decisions(traces, self.case.ratio)
        if self.case.plain == Plain.NATIVE and self._counter("http.http.tracing.random_sampling") not in range(
            1, _CHECKS
        ):
            raise BenchError("expected some of the requests to be traced, and not all")

    def _checked(self) -> str:
        """The `traceparent` that the upstream got for a request, whose tags are as they should be."""
        status, headers, _ = get(self.port, gateway.CHECKED, {"x-user-id": "user-17", "x-bench-0": "first"})
        if status != 200:  # noqa: PLR2004
            raise BenchError(f"expected 200, got {status}")
        for name, value in self.case.wanted_tags().items():
            if (found := headers.get(f"x-bench-{name}", "-")) != value:
                raise BenchError(f"expected the tag {name} to be {value!r}, got {found!r}")
        return headers.get("x-bench-trace", "")

    def _server_cpu(self) -> float:
        return self.server.cpu_seconds() if self.server else 0.0

    def _broken(self) -> int:
        return sum(self._counter(f"ext_proc.{name}") for name in _BROKEN)

    def _counter(self, name: str) -> int:
        text = get(self.admin, f"/stats?filter={name}$")[2]
        return sum(int(line.rpartition(":")[2]) for line in text.splitlines() if line)


def _check_decisions(traces: list[str], ratio: float) -> None:
    """Each new trace is kept if its randomness says so: OpenTelemetry's R >= T, worked out again."""
    for trace in traces:
        _, trace_id, _, flags = trace.split("-")
        kept = int(trace_id[-14:], 16) >= round((1 - ratio) * 2**56)
        if kept != (flags == "01"):
            raise BenchError(f"expected {trace} to be {'kept' if kept else 'dropped'} at a ratio of {ratio:g}")


@contextmanager
def shared() -> Iterator[Shared]:
    """The upstream and the OTLP receiver, running."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        ports = Shared(free_ports(1), free_ports(1))
        sink: list[str | Path] = [sys.executable, "-m", "bench.sink", str(ports.sink)]
        receiver = stack.enter_context(started(sink, folder / "sink.log"))
        receiver.until(lambda: listens(ports.sink), "OTLP receiver")
        admin = free_ports(1)
        _envoy(stack, folder, gateway.upstream(ports.upstream, admin), admin)
        yield ports


@contextmanager
def running(case: Case, ports: Shared) -> Iterator[Bed]:
    """The case, ready.

    Raises:
        BenchError: it did not get ready.
    """
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        policy = folder / "policy" / "policy.yaml"  # alone there: its folder is watched for changes
        policy.parent.mkdir()
        policy.write_text(policy_text(case))
        listen = f"unix:{folder}/server.sock" if case.unix else f"127.0.0.1:{free_ports(case.workers)}"
        server = _server(stack, case, listen, policy, ports.sink) if case.server != Server.NONE else None
        port, admin = free_ports(1), free_ports(1)
        addresses = {"envoy": port, "admin": admin, "upstream": ports.upstream, "sink": ports.sink}
        config = gateway.configuration(case, policy, addresses, listen)
        program = _envoy(stack, folder, config, admin)
        yield Bed(case, port, admin, program, server, folder)


def _envoy(stack: ExitStack, folder: Path, config: str, admin: int) -> Program:
    file = folder / "envoy.json"
    file.write_text(config)
    command: list[str | Path] = [envoy(), "-c", file, "--concurrency", "1", "--use-dynamic-base-id", "-l", "error"]
    program = stack.enter_context(started(command, folder / "envoy.log"))
    program.until(lambda: answers(admin), "Envoy")
    return program


def _server(stack: ExitStack, case: Case, listen: str, policy: Path, sink: int) -> Program:
    environment = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{sink}",
        "OTEL_EXPORTER_OTLP_INSECURE": "true",
        "OTEL_METRIC_EXPORT_INTERVAL": str(case.export_seconds * 1000),
    }
    log = policy.parent.parent / "server.log"
    if case.server == Server.EXTPROC:
        admin = free_ports(1)
        command = [sys.executable, "-m", "extproc", "serve", f"--policy={policy}", f"--listen={listen}"]
        command += [f"--admin=127.0.0.1:{admin}", f"--workers={case.workers}"]
        program = stack.enter_context(started(command, log, environment))
        program.until(lambda: answers(admin), "extproc serve")
        return program
    program = stack.enter_context(started(_other(case, listen), log, environment))
    program.until(lambda: _accepts(listen), case.server)
    return program


def _other(case: Case, listen: str) -> list[str | Path]:
    """The command of a server that is not ours."""
    job: list[str | Path] = [listen, str(case.policies), str(case.ratio)]
    match case.server:
        case Server.GO:
            return [tools.go_peer(), f"-listen={listen}", f"-services={case.policies}", f"-ratio={case.ratio}"]
        case Server.GRPCLIB:
            return [sys.executable, "-m", "bench.peers.grpclib_server", *job]
        case Server.SYNC:
            return [sys.executable, "-m", "bench.peers.sync_server", *job]
        case Server.OWN_ECHO:
            return [sys.executable, "-m", "bench.own_echo_server", listen]
        case _:
            return [sys.executable, "-m", "bench.echo_server", listen]


def _accepts(listen: str) -> bool:
    if listen.startswith("unix:"):
        return Path(listen.removeprefix("unix:")).exists()
    return listens(int(listen.rpartition(":")[2]))
