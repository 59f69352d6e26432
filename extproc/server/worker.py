"""A worker: one gRPC server, whose thread has an engine and a recorder, and the event loop that looks after them."""

import asyncio
import dataclasses
import math
from time import perf_counter, time

from extproc.engine.exchange import Engine
from extproc.engine.states import States
from extproc.policy.plan import Plan
from extproc.server import access_log, service
from extproc.server.access_log import AccessLog
from extproc.server.address import Address
from extproc.server.cpu import CpuMeter
from extproc.server.grpc_server import GrpcServer
from extproc.server.health import Health
from extproc.server.listen import bind
from extproc.server.service import Service
from extproc.server.shares import Shares
from extproc.server.timings import FLUSH_SECONDS
from extproc.server.tls import TlsFiles, server_credentials
from extproc.telemetry.delta import Delta
from extproc.telemetry.recorder import Recorder

_QUIET_SECONDS = 0.5
_POLL_SECONDS = 0.02
_LATE_SECONDS = 0.25
_CLOCK_SECONDS = 0.25
_CPU_SECONDS = 1.0

_OPTIONS = (
    ("grpc.so_reuseport", 0),  # a second process on the same port is a mistake, so binding must fail
    ("grpc.max_concurrent_streams", 2**31 - 1),  # Envoy holds one stream per HTTP request on one connection
    ("grpc.max_receive_message_length", 8 << 20),  # a body that Envoy buffers, should somebody send us one
    ("grpc.max_metadata_size", 32 << 10),
    ("grpc.keepalive_time_ms", 30_000),  # a peer that has silently gone is noticed, and its streams end
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 5_000),  # Envoy may send keepalives of its own
)


@dataclasses.dataclass(frozen=True, slots=True)
class WorkerSettings:
    """What a worker needs to know besides its Plan. `share` is the part of each rate that is its."""

    addresses: tuple[Address, ...]
    tls: TlsFiles | None = None
    share: float = 1.0


class Worker:
    """Serves one Plan after the other until it is drained."""

    def __init__(self, plan: Plan, settings: WorkerSettings) -> None:
        self._settings = settings
        self._recorder = Recorder()
        self._states = States(settings.share)
        self._plan = plan
        self._swapping = asyncio.Lock()
        self._service = Service(Engine(plan, self._states, time()), self._recorder)
        self._next_end = _next_end(plan)
        self._upkeep: tuple[asyncio.Task[None], ...] = ()
        self._access_log = AccessLog(self._recorder, lambda: self._service.engine.decider.policies)
        self._health = Health(service.SERVICE)
        methods = {
            service.METHOD: self._service.process,
            access_log.METHOD: self._access_log.stream,
            **self._health.methods(),
        }
        self._server = GrpcServer(methods, _OPTIONS)
        self._shares = Shares(self._states, self._recorder, lambda: self._plan, self._server.lock)

    async def start(self) -> tuple[Address, ...]:
        """Listen, and return the addresses with their real ports.

        Raises:
            ListenError: an address is taken.
            TlsError: a certificate file cannot be used.
        """
        credentials = server_credentials(self._settings.tls) if self._settings.tls else None
        addresses = tuple(bind(self._server, address, credentials) for address in self._settings.addresses)
        self._server.start()
        upkeep = self._end_policies(), self._read_cpu(), self._shares.run()
        self._upkeep = tuple(asyncio.create_task(work) for work in upkeep)
        return addresses

    async def swap(self, plan: Plan) -> None:
        """Serve new requests by `plan`. Its engine is built in a thread of its own, so that streams go on meanwhile."""
        async with self._swapping:
            await self._serve(plan)

    async def _serve(self, plan: Plan) -> None:
        engine = await asyncio.to_thread(Engine, plan, self._states, time())
        self._plan, self._next_end = plan, _next_end(plan)
        with self._server.lock:
            self._service.engine = engine
            self._states.keep({policy.name for policy in (*plan.policies, plan.default)})

    async def _end_policies(self) -> None:
        """Serve without a policy once its `until` has come."""
        while True:
            await asyncio.sleep(_CLOCK_SECONDS)
            if time() >= self._next_end:
                async with self._swapping:
                    await self._serve(self._plan)

    def collect(self) -> Delta:
        """What was recorded since the last call."""
        with self._server.lock:
            self._service.count_connections()
            for policy, count in self._states.boosts().items():
                self._recorder.boosts(policy, count)
            return self._recorder.collect()

    async def drain(self, grace_seconds: float) -> None:
        """Stop without failing a request, within `grace_seconds`.

        New streams are served until Envoy's health checks have moved them elsewhere: until none came for half a
        second, at most for half the time. Then the access log of the last ones
        may come, the port closes, and streams in flight may finish. Shortly before the
        end those that are left end with OK, and Envoy lets their HTTP requests go on without us.
        """
        for task in self._upkeep:
            task.cancel()
        await self._shares.close()
        loop = asyncio.get_running_loop()
        deadline = loop.time() + grace_seconds
        reserve = min(0.5, grace_seconds / 10)
        with self._server.lock:
            self._health.not_serving()
        await self._until_quiet(deadline - grace_seconds / 2)
        await self._until_logged(deadline - reserve)
        self._server.shut_down()
        await self._until_idle(deadline - reserve)
        with self._server.lock:
            self._access_log.end()
            self._service.end_streams()
        # What is still open now is only those who watch our health.
        await asyncio.to_thread(self._server.join, reserve / 2)

    async def _read_cpu(self) -> None:
        """Tell samplers how busy the processor is, once a second, where one wants to know."""
        meter = CpuMeter()
        while True:
            await asyncio.sleep(_CPU_SECONDS)
            if _reads_cpu(self._plan) and (usage := await asyncio.to_thread(meter.read)) is not None:
                with self._server.lock:
                    self._states.cpu.add(usage)

    async def _until_quiet(self, deadline: float) -> None:
        loop = asyncio.get_running_loop()
        started, since = self._service.started, loop.time()
        while loop.time() < min(deadline, since + _QUIET_SECONDS):
            await asyncio.sleep(_POLL_SECONDS)
            if self._service.started != started:
                started, since = self._service.started, loop.time()

    async def _until_idle(self, deadline: float) -> None:
        loop = asyncio.get_running_loop()
        while loop.time() < deadline:
            if self._service.idle:
                break
            await asyncio.sleep(_POLL_SECONDS)

    async def _until_logged(self, deadline: float) -> None:
        """Wait for what Envoy's access log has yet to tell of the last requests; it may open a stream only for that."""
        late = self._service.logged_at + FLUSH_SECONDS + _LATE_SECONDS - perf_counter()
        await asyncio.sleep(max(0.0, min(late, deadline - asyncio.get_running_loop().time())))


def _next_end(plan: Plan) -> float:
    """When the next policy ends, in Unix seconds."""
    now = time()
    ends = (policy.until for policy in plan.policies if policy.until is not None)
    return min((end for end in ends if end > now), default=math.inf)


def _reads_cpu(plan: Plan) -> bool:
    samplers = (policy.sampler for policy in (plan.default, *plan.policies))
    return any(sampler.adaptive is not None and sampler.adaptive.cpu is not None for sampler in samplers)
