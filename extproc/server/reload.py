"""The policy file while we serve: read at the start, read again when it changes, the last good Plan kept.

Its folder is watched, not the file: an edit, an editor's rename and a ConfigMap's swapped symlink all show there. Twice
a second the file is looked at all the same, for file systems that tell of nothing and folders that are replaced.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from watchfiles import awatch

from extproc.policy.load import load
from extproc.policy.plan import Plan
from extproc.policy.problems import PolicyError
from extproc.server.logs import get_logger
from extproc.server.shares import StoreError
from extproc.telemetry.audit import AuditError
from extproc.telemetry.instruments import POLICY_RELOADS
from extproc.telemetry.store import Store

_LOOK_SECONDS = 0.5
_SETTLE_SECONDS = 0.05
_SETTLE_LOOKS = 10

_Fingerprint = tuple[int, int, int, int, int] | None
"""What tells one state of the file from another without reading it; None while there is no file."""


@dataclass(frozen=True, slots=True)
class FailedReload:
    """A reload that changed nothing: when, and what is wrong with the file, a line per problem."""

    at: str
    problems: tuple[str, ...]


class PolicyFile:
    """The policy file and the Plan that it last held.

    Args:
        path: The file.
        store: Counts reloads.
        apply: Puts a new Plan to work.
    """

    def __init__(self, path: Path, store: Store, apply: Callable[[Plan], Awaitable[None]]) -> None:
        self.path = path
        self.plan: Plan
        self.loaded_at = ""
        """When the present Plan was loaded, RFC 3339."""
        self.last_error: FailedReload | None = None
        """The last reload's, if it failed."""
        self._store = store
        self._apply = apply
        self._fingerprint: _Fingerprint = None
        self._digest = ""
        self._reloading = asyncio.Lock()

    async def load(self) -> Plan:
        """Read the file for the first time.

        Raises:
            PolicyError: it cannot be used.
        """
        self._fingerprint = await asyncio.to_thread(_fingerprint, self.path)
        self._accept(await asyncio.to_thread(load, self.path))
        return self.plan

    async def watch(self) -> None:
        """Reload whenever the file's content changes, for ever."""
        while True:
            with suppress(OSError):  # the folder is gone for a moment
                async for _ in _changes(self.path.parent):
                    await self._look()
                    if not self.path.parent.exists():
                        break
            await asyncio.sleep(_LOOK_SECONDS)

    async def _look(self) -> None:
        if await asyncio.to_thread(_fingerprint, self.path) != self._fingerprint:
            self._fingerprint = await self._settle()
            if await asyncio.to_thread(_digest, self.path) != self._digest:
                await self.reload()

    async def reload(self) -> None:
        """Read the file again, even if it has not changed. A file that cannot be used changes nothing."""
        async with self._reloading:
            self._digest = await asyncio.to_thread(_digest, self.path)
            try:
                plan = await asyncio.to_thread(load, self.path)
                await self._apply(plan)
            except PolicyError as error:
                self._reject(tuple(map(str, error.problems)))
            except (AuditError, StoreError) as error:
                self._reject((f"{self.path}: {error}",))
            except Exception as error:  # noqa: BLE001  a bug that this file has found must not end what works
                self._reject((f"{self.path}: {error!r}",))
            else:
                self._accept(plan)
                self._store.count(POLICY_RELOADS.name, result="ok")
                get_logger().info("policy reloaded", digest=plan.digest, policies=len(plan.policies))

    async def _settle(self) -> _Fingerprint:
        """Wait for a writer to finish, and for a file that is gone to come back: half a second at most."""
        seen = self._fingerprint
        for _ in range(_SETTLE_LOOKS):
            await asyncio.sleep(_SETTLE_SECONDS)
            before, seen = seen, await asyncio.to_thread(_fingerprint, self.path)
            if seen is not None and seen == before:
                break
        return seen

    def _accept(self, plan: Plan) -> None:
        self.plan = plan
        self._digest = plan.digest
        self.loaded_at = _now()
        self.last_error = None

    def _reject(self, problems: tuple[str, ...]) -> None:
        self.last_error = FailedReload(_now(), problems)
        self._store.count(POLICY_RELOADS.name, result="error")
        get_logger().error("policy not reloaded, the last good one stays", problem=problems[0], problems=len(problems))


def _changes(folder: Path) -> AsyncIterator[object]:
    """Something whenever something in the folder has changed, and nothing now and then besides."""
    timeout = int(_LOOK_SECONDS * 1000)
    return awatch(folder, recursive=False, debounce=200, step=100, rust_timeout=timeout, yield_on_timeout=True)


def _fingerprint(path: Path) -> _Fingerprint:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _digest(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return ""


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
