"""Replicas that share rates through a store: Redis, or what speaks its protocol, such as Valkey.

Once a second each worker tells the store how many new traces a second each of its policies has met, and takes the part
of the rate that corresponds to its part of them all. Samplers read that part from memory: no request ever waits for the
store. While it cannot be reached, each worker has the part that `replicas` gives it.
"""

import asyncio
import importlib.util
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from threading import Lock
from time import monotonic
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from extproc.engine.states import Portion, States
from extproc.policy.plan import Plan
from extproc.server.logs import RateLimitedLog
from extproc.telemetry.recorder import Recorder

if TYPE_CHECKING:
    from redis.asyncio import Redis

PASSWORD = "EXTPROC_STORE_PASSWORD"  # noqa: S105  the name of a variable
"""The environment variable with the store's password, where the URL has none."""

_REFRESH_SECONDS = 1.0
_TIMEOUT_SECONDS = 0.5
_NEW = 0.5  # weight of the last second in a policy's demand
_IDLE = 0.01  # traces a second below which a policy asks for nothing

_ASK = """
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2] .. ' ' .. string.format('%.3f', now))
redis.call('EXPIRE', KEYS[1], 60)
local all = redis.call('HGETALL', KEYS[1])
local sum = 0
for place = 2, #all, 2 do
  local demand, at = string.match(all[place], '^(%S+) (%S+)$')
  if now - tonumber(at) > 3 then redis.call('HDEL', KEYS[1], all[place - 1]) else sum = sum + tonumber(demand) end
end
return tostring(sum)
"""
"""Says a member's demand, and returns everybody's. Who was silent for three seconds, by the store's clock, is gone."""


class StoreError(Exception):
    """The policy file names a store that this installation cannot use. One line that says what to do."""


def require(plan: Plan) -> None:
    """Raise StoreError if `plan` needs what is not installed."""
    if plan.share.store is not None and importlib.util.find_spec("redis") is None:
        raise StoreError(
            "share.store: expected redis-py to be installed, got nothing; try pip install 'extproc[redis]'"
        )


class Shares:
    """Keeps the portions of one worker's policies.

    Args:
        states: Has the portions.
        recorder: Counts what the store did not answer.
        plan: The Plan in force.
        lock: Of those who use the states and the recorder.
        clock: Monotonic, in seconds.
    """

    def __init__(
        self,
        states: States,
        recorder: Recorder,
        plan: Callable[[], Plan],
        lock: Lock,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._states = states
        self._recorder = recorder
        self._plan = plan
        self._lock = lock
        self._clock = clock
        self._member = uuid4().hex
        self._client: Redis | None = None
        self._url: str | None = None
        self._looked_at = clock()
        self._demand: dict[str, float] = {}
        self._log = RateLimitedLog()

    async def run(self) -> None:
        """Refresh once a second, for ever."""
        while True:
            await asyncio.sleep(_REFRESH_SECONDS)
            await self.refresh()

    async def refresh(self) -> None:
        """Ask the store once; whatever goes wrong, every policy has a portion afterwards."""
        plan = self._plan()
        with self._lock:
            asking = dict(self._asking(plan))
        if plan.share.store != self._url:
            await self.close()
            self._url = plan.share.store
        if self._url is None or not asking:
            return
        try:
            async with asyncio.timeout(_TIMEOUT_SECONDS):
                sums = await self._ask(self._url, asking)
        except Exception as error:  # noqa: BLE001  the store is somebody else's, and so are its failures
            with self._lock:
                for portion in asking.values():
                    portion.release()
                self._recorder.store_error()
            self._log.report("store", "the store of share did not answer", exception=type(error).__name__)
            return
        with self._lock:
            for (policy, portion), demand in zip(asking.items(), sums, strict=True):
                portion.hold(min(1.0, self._demand[policy] / demand) if demand > 0 else portion.fallback)

    async def close(self) -> None:
        """Leave the store: the others take over what was ours once we have been silent."""
        client, self._client, self._url = self._client, None, None
        if client is not None:
            with suppress(Exception):
                await asyncio.wait_for(client.aclose(), _TIMEOUT_SECONDS)

    def _asking(self, plan: Plan) -> Iterator[tuple[str, Portion]]:
        """The policies that have met new traces lately; the others give up what they held."""
        now = self._clock()
        seconds = max(now - self._looked_at, 1e-3)
        self._looked_at = now
        demand, self._demand = self._demand, {}
        for policy in (plan.default, *plan.policies):
            if policy.sampler.rate is None:
                continue
            portion = self._states.of(policy.name, Portion)
            met = portion.take_seen() / seconds
            wanted = _NEW * met + (1 - _NEW) * demand.get(policy.name, met)
            if plan.share.store is not None and wanted >= _IDLE:
                self._demand[policy.name] = wanted
                yield policy.name, portion
            else:
                portion.release()

    async def _ask(self, url: str, asking: dict[str, Portion]) -> list[float]:
        if self._client is None:
            self._client = _connect(url)
        pipeline: Any = self._client.pipeline(transaction=False)
        for policy in asking:
            pipeline.eval(_ASK, 1, f"extproc:share:{policy}", self._member, f"{self._demand[policy]:.6f}")
        return [float(answer) for answer in await pipeline.execute()]


def _connect(url: str) -> "Redis":
    from redis.asyncio import Redis  # noqa: PLC0415  an extra that only this needs

    client: Redis = Redis.from_url(
        url,
        password=os.environ.get(PASSWORD),
        socket_timeout=_TIMEOUT_SECONDS,
        socket_connect_timeout=_TIMEOUT_SECONDS,
    )
    return client
