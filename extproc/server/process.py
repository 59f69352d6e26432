"""The `extproc serve` process: policy file, workers, admin HTTP, OTLP and signals held together."""

import asyncio
import os
import signal
from collections.abc import Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from extproc.engine.audit import AuditRecord
from extproc.engine.span import Span
from extproc.policy.plan import Plan, Policy, SamplerKind
from extproc.server import runtime, shares
from extproc.server.address import Address
from extproc.server.admin import Admin, is_loopback
from extproc.server.effective import Effective
from extproc.server.listen import release
from extproc.server.logs import get_logger
from extproc.server.policy_view import policy_view
from extproc.server.pool import LocalPool, Pool, PoolSettings, Receive
from extproc.server.process_pool import ProcessPool
from extproc.server.reload import PolicyFile
from extproc.server.tls import TlsFiles
from extproc.server.worker import WorkerSettings
from extproc.telemetry import audit, spans
from extproc.telemetry.delta import Delta
from extproc.telemetry.export import Exporter
from extproc.telemetry.instruments import (
    DECISIONS,
    POLICY_EFFECTIVE_RATIO,
    POLICY_RATE,
    POLICY_RATIO,
    AttributeSet,
    attribute_set,
)
from extproc.telemetry.outbox import Outbox
from extproc.telemetry.prometheus import render
from extproc.telemetry.store import Store

_COLLECT_SECONDS = 0.25  # a queue of 2048 spans, by default, has to hold what comes meanwhile
_SAME_SIGNAL_SECONDS = 0.5  # timeout(1) and some init processes signal us and our group, which is us again
_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_FIXED_RATIO = {SamplerKind.ALWAYS_ON, SamplerKind.ALWAYS_OFF, SamplerKind.PROBABILISTIC}


@dataclass(frozen=True, slots=True)
class Settings:
    """What the command line says. `addresses` holds those of each worker."""

    policy: Path
    addresses: tuple[tuple[Address, ...], ...]
    admin: Address
    grace_seconds: float
    tls: TlsFiles | None
    log_level: str


class Process:
    """Serves until SIGTERM or SIGINT. A second signal ends everything at once."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._store = Store()
        self._audit: Outbox[AuditRecord] = Outbox(self._store, audit.TERMS)
        self._spans: Outbox[Span] = Outbox(self._store, spans.read_terms())
        self._pool = _make_pool(settings, self._store, self._receive)
        self._file = PolicyFile(settings.policy, self._store, self._apply)
        self._admin = Admin(self)
        self._effective = Effective()
        self._exporter: Exporter
        self._stopping = asyncio.Event()
        self._stopped_at = 0.0
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def ready(self) -> bool:
        """Whether every worker serves and none is about to stop."""
        return self._pool.ready and not self._stopping.is_set()

    async def policy(self) -> dict[str, Any]:
        """The answer to /policy."""
        await self._pool.collect()
        return policy_view(self._file, self._store.snapshot(), self._effective.rates)

    async def metrics(self) -> tuple[bytes, str]:
        """The answer to /metrics and its content type."""
        await self._pool.collect()
        return await asyncio.to_thread(render, self._store.snapshot(), self._exporter.resource)

    async def run(self) -> None:
        """Serve until told to stop.

        Raises:
            PolicyError: the policy file cannot be used.
            AuditError: its audit records would have nowhere to go.
            StoreError: it names a store that cannot be used.
            ListenError: an address is taken.
            TlsError: a certificate file cannot be used.
        """
        runtime.level_heap()
        for number in _SIGNALS:
            asyncio.get_running_loop().add_signal_handler(number, self._stop, number)
        plan = await self._file.load()
        shares.require(plan)
        if (sink := await asyncio.to_thread(audit.open_sink, plan)) is not None:
            self._audit.use(sink)
        self._show(plan)
        self._exporter = Exporter(self._store, plan.collector, plan.attributes)
        self._send_spans(plan)
        runtime.settle()
        try:
            addresses = await self._pool.start(plan)
            admin = await self._admin.start(self._settings.admin)
        except BaseException:
            self._pool.kill()
            raise
        self._announce(plan, addresses, admin)
        self._begin(self._file.watch())
        self._begin(self._collect())
        self._begin(self._exporter.run())
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, lambda: self._begin(self._file.reload()))
        await self._stopping.wait()
        await self._drain(addresses)

    def _announce(self, plan: Plan, addresses: tuple[Address, ...], admin: Address) -> None:
        if not is_loopback(admin):
            get_logger().warning("admin is reachable from other machines; it shows the policy", admin=str(admin))
        get_logger().info(
            "listening",
            grpc=[str(address) for address in addresses],
            admin=str(admin),
            workers=len(self._settings.addresses),
            tls=self._settings.tls is not None,
            policy=str(self._file.path),
            digest=plan.digest,
        )

    def _receive(self, delta: Delta, source: str) -> None:
        self._store.add(delta, source)
        self._audit.put(delta.audit)
        self._spans.put(delta.spans)

    def _send_spans(self, plan: Plan) -> None:
        if (sink := spans.open_sink(plan)) is not None:
            self._spans.use(sink)

    async def _apply(self, plan: Plan) -> None:
        """A plan without `audit` leaves the place of the last one open, for requests that began under that."""
        shares.require(plan)
        sink = await asyncio.to_thread(audit.open_sink, plan)
        try:
            await self._pool.swap(plan)
        except BaseException:
            if sink is not None:
                sink.close()
            raise
        if sink is not None:
            self._audit.use(sink)
        self._send_spans(plan)
        self._show(plan)
        self._exporter.reconfigure(plan.collector, plan.attributes)

    async def _collect(self) -> None:
        while True:
            await asyncio.sleep(_COLLECT_SECONDS)
            await self._pool.collect()
            if self._effective.look(self._store.snapshot().numbers[DECISIONS.name]):
                rates = self._effective.rates.items()
                points = {attribute_set(POLICY_EFFECTIVE_RATIO, policy): rate.ratio for policy, rate in rates}
                self._store.show(POLICY_EFFECTIVE_RATIO.name, points)

    def _show(self, plan: Plan) -> None:
        self._store.show(POLICY_RATIO.name, _ratios(plan))
        self._store.show(POLICY_RATE.name, _rates(plan))

    async def _drain(self, addresses: tuple[Address, ...]) -> None:
        """Stop serving, then write and export what is left in what remains of the grace period."""
        loop, grace = asyncio.get_running_loop(), self._settings.grace_seconds
        deadline = loop.time() + grace
        get_logger().info("draining", grace_seconds=grace)
        await self._pool.drain(grace - min(1.0, grace / 4))
        for task in self._tasks:
            task.cancel()
        for address in addresses:
            release(address)
        left = max(0.1, (deadline - loop.time()) / 2)
        await asyncio.gather(self._audit.shutdown(left), self._spans.shutdown(left))
        await self._exporter.shutdown(max(0.1, deadline - loop.time()))
        await self._admin.stop()
        get_logger().info("stopped")

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            get_logger().error("a task of the supervisor failed", exc_info=error)

    def _stop(self, number: signal.Signals) -> None:
        now = asyncio.get_running_loop().time()
        if not self._stopping.is_set():
            self._stopping.set()
            self._stopped_at = now
        elif now - self._stopped_at > _SAME_SIGNAL_SECONDS:
            get_logger().warning("stopped at once", signal=number.name)
            self._pool.kill()
            os._exit(128 + number)


def _ratios(plan: Plan) -> dict[AttributeSet, float]:
    """The points of extproc.policy.ratio: none where tracing is disabled, for then nothing is decided."""
    return {
        attribute_set(POLICY_RATIO, policy.name): policy.sampler.probability
        for policy in _deciding(plan)
        if policy.sampler.kind in _FIXED_RATIO and policy.boost is None
    }


def _rates(plan: Plan) -> dict[AttributeSet, float]:
    """The points of extproc.policy.rate."""
    return {
        attribute_set(POLICY_RATE, policy.name): policy.sampler.rate
        for policy in _deciding(plan)
        if policy.sampler.rate is not None
    }


def _deciding(plan: Plan) -> tuple[Policy, ...]:
    return (plan.default, *plan.policies) if plan.enabled else ()


def _make_pool(settings: Settings, store: Store, receive: Receive) -> Pool:
    share = 1 / len(settings.addresses)
    workers = tuple(WorkerSettings(addresses, settings.tls, share) for addresses in settings.addresses)
    pool_settings = PoolSettings(workers, settings.log_level, settings.grace_seconds)
    if len(workers) == 1:
        return LocalPool(pool_settings, receive)
    return ProcessPool(pool_settings, store, receive)
