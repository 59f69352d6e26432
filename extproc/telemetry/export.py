"""Metrics to an OTLP collector, beside the event loop: whatever becomes of an export, the loop goes on."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

import structlog
from opentelemetry.sdk.metrics.export import Metric
from opentelemetry.sdk.resources import Resource

from extproc.policy.plan import Collector
from extproc.telemetry.background import Reporter, in_thread
from extproc.telemetry.encode import batches, count_points, encode
from extproc.telemetry.instruments import EXPORT_DROPPED
from extproc.telemetry.resource import build_resource
from extproc.telemetry.settings import REQUEST_SHARE, Target, Temporality, find_target, read_settings
from extproc.telemetry.shipper import Shipper
from extproc.telemetry.store import Snapshot, Store

_POINTS_PER_REQUEST: Final = 2000


@dataclass(frozen=True, slots=True)
class _Result:
    """What came of one export: the metrics delivered, the number of points that were not, and why not."""

    delivered: tuple[str, ...]
    dropped: int = 0
    reason: str | None = None


class Exporter:
    """Sends snapshots of a Store at an interval, and one last time at shutdown.

    Made and used on one event loop. Each export blocks a thread of its own, of which there is one at a time; it is a
    daemon, so that a collector that hangs cannot keep the process. The environment is read once, here.

    Args:
        store: What to export, and where undelivered points are counted.
        collector: The policy file's, used only where no OTEL_EXPORTER_OTLP_* variable names an endpoint.
        attributes: The policy file's resource attributes.
        clock: Monotonic seconds, for how often to log.
    """

    def __init__(
        self,
        store: Store,
        collector: Collector | None,
        attributes: tuple[tuple[str, str], ...],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._settings = read_settings()
        self._resource = build_resource(attributes)
        self._reporter = Reporter("metrics", clock)
        self._shipper: Shipper | None = None
        self._export: asyncio.Task[None] | None = None
        self._stopping = asyncio.Event()
        delta = self._settings.temporality is not Temporality.CUMULATIVE
        self._delivered: dict[str, Snapshot] | None = {} if delta else None
        self._target = find_target(self._settings, collector)
        _announce(self._target, enabled=self._settings.enabled)

    @property
    def resource(self) -> Resource:
        """Who the metrics come from; /metrics says so too."""
        return self._resource

    async def run(self) -> None:
        """Export at the interval until `shutdown`."""
        loop = asyncio.get_running_loop()
        due = loop.time() + self._settings.interval_seconds
        while not self._stopping.is_set():
            try:
                async with asyncio.timeout_at(due):
                    await self._stopping.wait()
            except TimeoutError:
                self._tick()
                # After a pause of the process the ticks it missed are not made up for.
                due = max(due + self._settings.interval_seconds, loop.time())

    def reconfigure(self, collector: Collector | None, attributes: tuple[tuple[str, str], ...]) -> None:
        """Follow a policy file that was read again. An export under way ends where it began."""
        resource = build_resource(attributes)
        if resource != self._resource:
            self._resource = resource
        target = find_target(self._settings, collector)
        if target == self._target:
            return
        self._target = target
        _announce(target, enabled=self._settings.enabled)
        shipper, self._shipper = self._shipper, None
        if shipper is not None and not self._busy:
            shipper.interrupt()

    async def shutdown(self, timeout_seconds: float) -> None:
        """Stop, and export once more what the Store holds by now. Returns within `timeout_seconds`, delivered or not.

        Half of the time may go to an export under way: cutting it short would make points of unknown fate.
        """
        if self._stopping.is_set():
            return
        self._stopping.set()
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_seconds
        if self._export is not None:
            await asyncio.wait({self._export}, timeout=timeout_seconds / 2)
            self._export.cancel()
            await asyncio.wait({self._export})
        if self._shipper is not None:
            self._shipper.interrupt()
        if self._target is not None:
            left = deadline - loop.time()
            # Not the connection in use: this one gives up in time, also where it could not be interrupted.
            last = Shipper(self._target, self._settings, REQUEST_SHARE * left)
            await self._ship(last, self._store.snapshot(), left)
            last.interrupt()

    @property
    def _busy(self) -> bool:
        return self._export is not None and not self._export.done()

    def _tick(self) -> None:
        if self._target is None:
            return
        snapshot = self._store.snapshot()
        if self._busy:
            self._settle(snapshot, _Result((), _points(snapshot), "the export before is still under way"))
            return
        if self._shipper is None:
            self._shipper = Shipper(self._target, self._settings, self._settings.request_timeout_seconds)
        self._export = asyncio.create_task(self._periodic(self._shipper, snapshot))

    async def _periodic(self, shipper: Shipper, snapshot: Snapshot) -> None:
        result = await self._ship(shipper, snapshot, self._settings.export_timeout_seconds)
        if not result.done():
            # Its thread still blocks. What it delivers late is not sent again, and until it ends no other starts.
            if shipper is self._shipper:
                self._shipper = None
            self._keep(snapshot, (await result).delivered)
        elif shipper is not self._shipper:
            shipper.interrupt()

    async def _ship(self, shipper: Shipper, snapshot: Snapshot, timeout_seconds: float) -> asyncio.Future[_Result]:
        """Export within `timeout_seconds` and account for it. The future returned is not done where that failed."""
        baseline = None if self._delivered is None else dict(self._delivered)
        future = in_thread(partial(_deliver, shipper, self._resource, snapshot, baseline), "extproc-export")
        done, _ = await asyncio.wait({future}, timeout=timeout_seconds)
        if done:
            self._settle(snapshot, future.result())
        else:
            shipper.interrupt()
            self._settle(snapshot, _Result((), _points(snapshot), f"not done within {timeout_seconds:g} s"))
        return future

    def _settle(self, snapshot: Snapshot, result: _Result) -> None:
        self._keep(snapshot, result.delivered)
        if result.dropped:
            self._store.count(EXPORT_DROPPED.name, result.dropped, signal="metrics")
            self._reporter.failed(result.reason, points=result.dropped)
        else:
            self._reporter.delivered()

    def _keep(self, snapshot: Snapshot, names: tuple[str, ...]) -> None:
        if self._delivered is not None:
            self._delivered.update(dict.fromkeys(names, snapshot))


def _announce(target: Target | None, *, enabled: bool) -> None:
    """Say so if there will be no exports at all."""
    if target is None:
        why = "no OTLP endpoint is configured" if enabled else "OTLP export is switched off by the environment"
        structlog.get_logger().info("metrics are only at /metrics", reason=why)


def _deliver(shipper: Shipper, resource: Resource, snapshot: Snapshot, baseline: dict[str, Snapshot] | None) -> _Result:
    """Send a snapshot, batch by batch up to the first failure."""
    try:
        metrics = encode(snapshot, baseline)
    except Exception as error:  # noqa: BLE001  a bug of ours must end as a failed export, not as a dead thread
        return _Result((), _points(snapshot), repr(error))
    delivered: list[Metric] = []
    for batch, request in batches(resource, metrics, _POINTS_PER_REQUEST):
        reason = shipper.ship(request)
        if reason is not None:
            return _Result(_names(delivered), count_points(metrics) - count_points(delivered), reason)
        delivered += batch
    return _Result(_names(delivered))


def _names(metrics: list[Metric]) -> tuple[str, ...]:
    return tuple(metric.name for metric in metrics)


def _points(snapshot: Snapshot) -> int:
    return sum(map(len, (*snapshot.numbers.values(), *snapshot.gauges.values(), *snapshot.histograms.values())))
